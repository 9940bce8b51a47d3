from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine
from skimage.color import gray2rgb, rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_sample_image

from hat_deploy import cli, images
from hat_deploy.api import Upscaler
from hat_deploy.engines.base import Array
from hat_deploy.errors import UsageError
from hat_deploy.evaluate import (
    Evaluation,
    Score,
    Scored,
    evaluate,
    evaluate_all,
    labels,
    write_csv,
)
from hat_deploy.images.resize import bicubic, round_to_uint8


def saved(pixels: Array, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    images.write(images.Picture(pixels=np.ascontiguousarray(pixels)), path)
    return path


def china(top: int, left: int, height: int, width: int) -> Array:
    return np.asarray(load_sample_image("china.jpg"))[top : top + height, left : left + width]


def enlarged(low: Array, scale: int = 2) -> Array:
    """What the identity engine makes of a picture."""
    return low.repeat(scale, 0).repeat(scale, 1)


def shrunk(pixels: Array, scale: int = 2) -> Array:
    height, width = (length // scale for length in pixels.shape[:2])
    cropped = pixels[: height * scale, : width * scale]
    return round_to_uint8(bicubic(cropped, height, width))


def identity(scale: int = 2) -> Upscaler:
    return Upscaler(IdentityEngine((16, 16), scale=scale))


def independent(original: Array, result: Array, border: int) -> tuple[float, float]:
    """PSNR and SSIM on Y by scikit-image."""
    inside = slice(border, -border)
    y = [
        rgb2ycbcr(picture if picture.ndim == 3 else gray2rgb(picture))[..., 0][inside, inside]
        for picture in (original, result)
    ]
    ssim = structural_similarity(
        *y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return peak_signal_noise_ratio(*y, data_range=255), ssim


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scores_are_those_of_scikit_image(tmp_path: Path, scale: int) -> None:
    """Sizes that are no multiple of the scale: what is too much is cut at the right and bottom."""
    original = china(100, 200, 61, 83)
    saved(original, tmp_path / "a.png")
    found = evaluate(identity(scale), tmp_path)
    low = shrunk(original, scale)
    cropped = original[: low.shape[0] * scale, : low.shape[1] * scale]
    psnr, ssim = independent(cropped, enlarged(low, scale), scale)
    plain = round_to_uint8(bicubic(low, *cropped.shape[:2]))
    bicubic_psnr, bicubic_ssim = independent(cropped, plain, scale)
    (score,) = found.scores
    assert score.psnr == pytest.approx(psnr, abs=1e-3)
    assert score.ssim == pytest.approx(ssim, abs=1e-4)
    assert score.bicubic_psnr == pytest.approx(bicubic_psnr, abs=1e-3)
    assert score.bicubic_ssim == pytest.approx(bicubic_ssim, abs=1e-4)
    assert score.bicubic_psnr > score.psnr
    assert found.scale == found.border == scale


class Tinting(IdentityEngine):
    """Makes what it enlarges redder, as a colour network may that is given a gray image."""

    def run(self, batch: Array) -> Array:
        return super().run(batch) + np.float32([0.02, 0, 0]).reshape(1, 3, 1, 1)


def test_a_gray_file_is_read_in_colour_before_y_is_taken(tmp_path: Path) -> None:
    """As papers' code does: it scores 1.3 dB more, and what the network adds in colour counts."""
    original = china(0, 0, 40, 60)[..., 1]
    saved(original, tmp_path / "gray.png")
    shown: list[Scored] = []
    plain = evaluate(identity(), tmp_path, on_scored=shown.append).scores[0]
    low = gray2rgb(shrunk(original))
    assert plain.psnr == pytest.approx(independent(gray2rgb(original), enlarged(low), 2)[0])
    error = np.square(original[2:-2, 2:-2] - enlarged(low)[2:-2, 2:-2, 0].astype(float)).mean()
    assert plain.psnr == pytest.approx(10 * np.log10(255**2 / error / (219 / 255) ** 2))
    assert shown[0].original.shape == shown[0].result.shape == (40, 60, 3)
    tinted = evaluate(Upscaler(Tinting((16, 16))), tmp_path).scores[0]
    result = np.clip(enlarged(low) / 255 + np.array([0.02, 0, 0]), 0, 1)
    psnr, _ = independent(gray2rgb(original), np.rint(result * 255).astype(np.uint8), 2)
    assert tinted.psnr == pytest.approx(psnr, abs=1e-3)
    assert tinted.psnr != pytest.approx(plain.psnr, abs=1e-2)


def test_a_gray_file_scores_as_scikit_image_has_it(tmp_path: Path) -> None:
    original = china(0, 0, 40, 60)[..., 1]
    saved(original, tmp_path / "gray.png")
    (score,) = evaluate(identity(), tmp_path).scores
    psnr, ssim = independent(original, enlarged(shrunk(original)), 2)
    assert score.psnr == pytest.approx(psnr, abs=1e-3)
    assert score.ssim == pytest.approx(ssim, abs=1e-4)


def test_the_mean_is_over_pictures_not_pixels(tmp_path: Path) -> None:
    saved(china(0, 0, 40, 40), tmp_path / "small.png")
    saved(china(200, 100, 100, 120), tmp_path / "large.png")
    found = evaluate(identity(), tmp_path)
    assert [score.name for score in found.scores] == ["large.png", "small.png"]
    assert found.mean is not None
    for name in ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim"):
        values = [getattr(score, name) for score in found.scores]
        assert values[0] != values[1]
        assert getattr(found.mean, name) == pytest.approx(sum(values) / 2)


def test_low_resolution_pictures_are_taken_as_given(tmp_path: Path) -> None:
    original = china(50, 50, 41, 40)
    saved(original, tmp_path / "hr" / "a.png")
    low = original[:40:2, ::2]
    saved(low, tmp_path / "lr" / "a.png")
    (score,) = evaluate(identity(), tmp_path / "hr", tmp_path / "lr").scores
    psnr, _ = independent(original[:40], enlarged(low), 2)
    assert score.psnr == pytest.approx(psnr, abs=1e-3)


def test_low_resolution_pictures_are_found_by_name(tmp_path: Path) -> None:
    original = china(0, 0, 32, 40)
    for name in ("baby.png", "bird.png", "bird2.bmp", "head.webp"):
        saved(original, tmp_path / "hr" / name)
    for name in ("babyx2.png", "bird.bmp", "bird2_x2.png", "head-x2.png", "babyx4.png"):
        saved(shrunk(original), tmp_path / "lr" / name)
    found = evaluate(identity(), tmp_path / "hr", tmp_path / "lr")
    assert [s.name for s in found.scores] == ["baby.png", "bird.png", "bird2.bmp", "head.webp"]
    assert found.not_scored == ()


def test_what_cannot_be_paired_is_listed_and_the_rest_is_scored(tmp_path: Path) -> None:
    original = china(0, 0, 32, 40)
    low = shrunk(original)
    names = ("good", "gray", "missing", "twice", "wrong", "broken")
    for name in names:
        saved(original, tmp_path / "hr" / f"{name}.png")
    saved(low, tmp_path / "lr" / "good.png")
    saved(low, tmp_path / "lr" / "twice.png")
    saved(low, tmp_path / "lr" / "twicex2.png")
    saved(low[:-1], tmp_path / "lr" / "wrong.png")
    saved(low[..., 0], tmp_path / "lr" / "gray.png")
    (tmp_path / "lr" / "broken.png").write_bytes(b"no picture")
    found = evaluate(identity(), tmp_path / "hr", tmp_path / "lr")
    assert [score.name for score in found.scores] == ["good.png", "gray.png"]
    reasons = {missed.path.stem: missed.reason for missed in found.not_scored}
    assert set(reasons) == set(names) - {"good", "gray"}
    assert "no low-resolution image" in reasons["missing"]
    assert "twicex2.png" in reasons["twice"]
    assert "40x32" in reasons["wrong"]
    assert "20x15" in reasons["wrong"]
    assert "broken.png" in reasons["broken"]


def test_what_the_scores_are_not_defined_for_is_listed(tmp_path: Path) -> None:
    original = china(0, 0, 32, 40)
    saved(original.astype(np.uint16) * 257, tmp_path / "deep.png")
    saved(np.dstack([original, original[..., 0]]), tmp_path / "alpha.png")
    saved(original[:14], tmp_path / "flat.png")
    saved(original[:15, :16], tmp_path / "odd.png")
    saved(original[:16, :16], tmp_path / "least.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "notes.txt").write_text("passed over")
    found = evaluate(identity(), tmp_path)
    assert [score.name for score in found.scores] == ["least.png"]
    reasons = {missed.path.stem: missed.reason for missed in found.not_scored}
    assert set(reasons) == {"deep", "alpha", "flat", "odd", "text"}
    assert "16 bits" in reasons["deep"]
    assert "alpha" in reasons["alpha"]
    assert "11x11" in reasons["flat"]


def test_an_engine_that_returns_no_numbers_scores_nothing(tmp_path: Path) -> None:
    saved(china(0, 0, 32, 40), tmp_path / "a.png")
    found = evaluate(Upscaler(NaNEngine()), tmp_path)
    assert found.scores == ()
    assert found.mean is None
    assert "not finite" in found.not_scored[0].reason


def test_equal_pictures_are_strict_json_too(tmp_path: Path) -> None:
    saved(np.full((32, 32, 3), 77, np.uint8), tmp_path / "plain.png")
    found = evaluate(identity(), tmp_path)
    assert found.scores[0].psnr == float("inf")
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["mean"]["psnr"] is None
    assert values["scores"][0]["ssim"] == pytest.approx(1)


def test_the_table_in_csv(tmp_path: Path) -> None:
    scores = tuple(
        Score(name=name, psnr=psnr, ssim=0.5, bicubic_psnr=20.0, bicubic_ssim=0.25, seconds=2.0)
        for name, psnr in (("a, b.png", 30.0), ("c.png", 31.0))
    )
    model = {"name": "m", "file": "m.onnx", "sha256": "5a"}
    evaluation = Evaluation(
        tiling="tiles of 24x16 (height x width), halo 4",
        tiled=(),
        engine="e",
        model=model,
        scale=2,
        border=2,
        lr="",
        scores=scores,
        not_scored=(),
    )
    write_csv([evaluation], tmp_path / "new" / "out.csv")
    with (tmp_path / "new" / "out.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["name", "psnr", "ssim", "bicubic_psnr", "bicubic_ssim", "seconds", "model", "sha256"],
        ["a, b.png", "30.0", "0.5", "20.0", "0.25", "2.0", "m", "5a"],
        ["c.png", "31.0", "0.5", "20.0", "0.25", "2.0", "m", "5a"],
        ["mean", "30.5", "0.5", "20.0", "0.25", "2.0", "m", "5a"],
    ]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write_csv([evaluation], tmp_path / "file" / "out.csv")


def test_folders_without_pictures_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images found"):
        evaluate(identity(), tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        evaluate(identity(), tmp_path / "none")


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hat-deploy", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return int(raised.value.code or 0)


def test_the_command(
    tmp_path: Path,
    tiny_onnx: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hr, table = tmp_path / "hr", tmp_path / "scores.csv"
    saved(china(0, 0, 32, 40), hr / "[bold]a.png")
    command = ("evaluate", "--hr", hr, "--engine", tiny_onnx)
    assert exit_code(monkeypatch, *command, "--csv", table) == 0
    output = capsys.readouterr().out
    assert "[bold]a.png" in output
    assert "mean of 1" in output
    assert table.read_text().count("\n") == 3
    (hr / "broken.png").write_bytes(b"")
    assert exit_code(monkeypatch, *command, "--json") == 3
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["scores"]) == 1
    assert "broken.png" in captured.err
    assert exit_code(monkeypatch, *command, "--model", "x") == 2


def test_models_are_scored_on_the_same_images(tmp_path: Path) -> None:
    saved(china(0, 0, 40, 40), tmp_path / "a.png")
    saved(china(200, 100, 60, 40), tmp_path / "b.png")
    shown: list[list[Scored]] = []
    plain, other = evaluate_all(
        [identity(), identity()], tmp_path, on_scored=lambda scored: shown.append([*scored])
    )
    assert [score.psnr for score in plain.scores] == [score.psnr for score in other.scores]
    assert all(score.seconds > 0 for score in plain.scores)
    assert [[each.score.name for each in scored] for scored in shown] == [
        ["a.png", "a.png"],
        ["b.png", "b.png"],
    ]


def test_an_image_that_one_model_cannot_compute_is_scored_for_none(tmp_path: Path) -> None:
    saved(china(0, 0, 32, 40), tmp_path / "a.png")
    for found in evaluate_all([identity(), Upscaler(NaNEngine())], tmp_path):
        assert found.scores == ()
        assert "not finite" in found.not_scored[0].reason


def test_models_of_different_scales_are_refused(tmp_path: Path) -> None:
    saved(china(0, 0, 32, 40), tmp_path / "a.png")
    with pytest.raises(UsageError, match="different factors"):
        evaluate_all([identity(2), identity(3)], tmp_path)


def test_models_of_one_name_are_told_apart() -> None:
    def model(name: str, file: str | None) -> dict[str, str | None]:
        return {"name": name, "file": file, "sha256": None}

    models = [model("a", "x/a.onnx"), model("b", "b.onnx"), model("a", "a.plan")]
    assert labels(models) == ["a (a.onnx)", "b", "a (a.plan)"]
    assert labels([models[0], models[0]]) == ["a (a.onnx) #1", "a (a.onnx) #2"]


def test_the_command_puts_models_side_by_side(
    tmp_path: Path,
    tiny_onnx: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hr, other, page = tmp_path / "hr", tmp_path / "other.onnx", tmp_path / "page.html"
    saved(china(0, 0, 32, 40), hr / "a.png")
    other.write_bytes(tiny_onnx.read_bytes())
    command = ("evaluate", "--hr", hr, "--model", tiny_onnx, "--engine", other)
    table = tmp_path / "scores.csv"
    assert exit_code(monkeypatch, *command, "--csv", table, "--report", page) == 0
    output = capsys.readouterr().out
    assert "tiny.onnx" in output and "other.onnx" in output and "bicubic" in output
    assert "parameters" in output and "multi-adds" in output
    assert table.read_text().count("\n") == 5
    text = page.read_text(encoding="utf-8")
    assert text.count("<option") == 8
    assert exit_code(monkeypatch, *command, "--json") == 0
    told = json.loads(capsys.readouterr().out)["models"]
    assert [len(each["scores"]) for each in told] == [1, 1]
    assert told[0]["parameters"] > 0 and told[0]["multi_adds_per_megapixel"] > 0
