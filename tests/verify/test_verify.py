from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fakes import IdentityEngine, NaNEngine
from onnx import helper, numpy_helper
from tiny import amplified, random_network, tiny_config

from hat_deploy import artifact, cli, images
from hat_deploy.engines.base import Array
from hat_deploy.engines.openvino import supports
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import UsageError
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.files import sha256
from hat_deploy.images import samples
from hat_deploy.images.samples import Sample
from hat_deploy.metrics import compare
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.hat.network import HAT
from hat_deploy.verify import ranges, verification
from hat_deploy.verify.comparison import Comparison, free_memory
from hat_deploy.verify.fidelity import Limits, Report
from hat_deploy.verify.verification import VerifyOptions

Damage = Callable[[onnx.ModelProto], None]


def redescribed(source: Path, target: Path, **changes: object) -> Path:
    """The same graph with another description."""
    model = onnx.load(source)
    (entry,) = model.metadata_props
    entry.value = replace(artifact.describe(source), **changes).to_json()
    onnx.save(model, target)
    return target


@pytest.fixture(scope="module")
def good(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that names the checkpoint it was made from."""
    target = tmp_path_factory.mktemp("verify") / "tiny.onnx"
    return redescribed(tiny_onnx, target, checkpoint_sha256=sha256(tiny_checkpoint))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small piece of a photograph; with 24x16 tiles, a dozen."""
    pixels = samples.read(Path(samples.__file__).parent / "pictures" / "astronaut.png", 3).pixels
    return saved(pixels[30:70, 60:98], tmp_path_factory.mktemp("photo") / "photo.png")


def saved(pixels: Array, path: Path) -> Path:
    images.write(images.Picture(pixels=np.ascontiguousarray(pixels)), path)
    return path


def run(engine: Path, reference: Path, *pictures: Path, **options: object) -> Report:
    return verification.verify(engine, reference, pictures, VerifyOptions(**options))


def reference_of(network: HAT, pixels: Array) -> Array:
    """The whole picture at once, CHW float32."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        return network(x)[0].numpy()


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(c for c in model.graph.initializer if c.name.endswith(name))


def change(name: str, by: float) -> Damage:
    """Add to the first number of a constant."""

    def damage(model: onnx.ModelProto) -> None:
        tensor = constant(model, name)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] += by
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return damage


def swap_red_and_blue(model: onnx.ModelProto) -> None:
    for name in ("conv_last.weight", "conv_last.bias"):
        tensor = constant(model, name)
        values = numpy_helper.to_array(tensor)[[2, 1, 0]]
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def shift_right(model: onnx.ModelProto) -> None:
    """Move the output by one pixel; the first column stays and is doubled."""
    graph = model.graph
    for node in graph.node:
        for slot, name in enumerate(node.output):
            if name == "output":
                node.output[slot] = "unshifted"
    for name, value in {"zero": 0, "one": 1, "last": -1, "axis": 3}.items():
        graph.initializer.append(numpy_helper.from_array(np.array([value]), f"shift_{name}"))
    graph.node.extend(
        [
            helper.make_node(
                "Slice", ["unshifted", "shift_zero", f"shift_{stop}", "shift_axis"], [result]
            )
            for stop, result in (("one", "first"), ("last", "rest"))
        ]
    )
    graph.node.append(helper.make_node("Concat", ["first", "rest"], ["output"], axis=3))


def damaged(source: Path, target: Path, damage: Damage) -> Path:
    model = onnx.load(source)
    damage(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    return target


@pytest.mark.slow
def test_an_artifact_is_verified_on_the_pictures_that_ship(
    good: Path, tiny_checkpoint: Path
) -> None:
    report = run(good, tiny_checkpoint, random=1)
    assert report.failures == ()
    assert report.warnings == ()
    assert report.foreign_constants == ()
    assert [p.name for p in report.pictures] == ["astronaut.png", "coffee.png", "noise 0"]
    for picture in report.pictures:
        assert picture.precision.max_abs <= 1e-5
        assert picture.precision.count == 3 * 4 * picture.height * picture.width
        assert picture.all_tiles.count == len(picture.tiles) * 3 * 48 * 32
    assert len(report.pictures[0].tiles) > 100


def test_the_report_is_strict_json_and_says_what_was_measured(
    good: Path, tiny_checkpoint: Path, photo: Path
) -> None:
    report = json.loads(json.dumps(run(good, tiny_checkpoint, photo).to_dict(), allow_nan=False))
    assert report["passed"] is True
    assert report["artifact"]["sha256"] == sha256(good)
    assert report["artifact"]["description"]["checkpoint_sha256"] == report["reference"]["sha256"]
    assert report["settings"]["halo"] == 4
    assert report["limits"] == {"min_psnr": 90.0, "max_abs": 1e-4, "rounding": 10.0}
    assert report["hardware"]["cores"] >= 1
    assert report["versions"]["torch"] == torch.__version__
    (picture,) = report["pictures"]
    assert {"row": 0, "column": 8}.items() <= picture["tiles"][1].items()
    assert picture["tiling"]["max_abs"] > 1e-4


@pytest.mark.parametrize(
    "damage",
    [
        change("conv_last.weight", 0.01),
        change("conv_first.weight", 0.01),
        change("layers.1.residual_group.blocks.0.conv_block.cab.0.weight", 0.3),
        swap_red_and_blue,
        shift_right,
    ],
    ids=["last weight", "first weight", "weight of a CAB", "channels swapped", "shifted"],
)
@pytest.mark.parametrize("check_constants", [True, False])
def test_damage_is_found(
    good: Path,
    tiny_checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Damage,
    check_constants: bool,
) -> None:
    if not check_constants:
        monkeypatch.setattr(verification, "_foreign_constants", lambda *_: None)
    report = run(damaged(good, tmp_path / "x.onnx", damage), tiny_checkpoint, photo, whole=False)
    assert any("end to end" in failure for failure in report.failures)
    assert any("tiles" in failure for failure in report.failures)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("damage", [swap_red_and_blue, shift_right])
def test_the_wider_limits_of_half_precision_find_it_too(
    good: Path,
    tiny_checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    damage: Damage,
) -> None:
    if precision == "bf16" and not supports(precision):
        pytest.skip("this CPU has no bf16 instructions")
    monkeypatch.setattr(verification, "_foreign_constants", lambda *_: None)
    half = redescribed(good, tmp_path / "half.onnx", precision=precision)
    assert run(half, tiny_checkpoint, photo, whole=False).passed
    broken = damaged(half, tmp_path / "x.onnx", damage)
    assert not run(broken, tiny_checkpoint, photo, whole=False).passed


def test_a_shift_shows_even_in_a_smooth_picture(
    good: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    ramp = np.linspace(100, 110, 40).astype(np.uint8)[None, :, None].repeat(24, 0).repeat(3, 2)
    smooth = saved(ramp, tmp_path / "smooth.png")
    assert run(good, tiny_checkpoint, smooth).passed
    broken = damaged(good, tmp_path / "x.onnx", shift_right)
    assert not run(broken, tiny_checkpoint, smooth).passed


def test_a_weight_whose_change_ninety_decibels_would_hide(
    good: Path,
    tiny_checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "_foreign_constants", lambda *_: None)
    broken = damaged(good, tmp_path / "x.onnx", change("conv_last.bias", 2e-5))
    report = run(broken, tiny_checkpoint, photo, whole=False)
    assert report.pictures[0].precision.psnr > 90
    assert report.pictures[0].precision.max_abs < 1e-4
    assert any("a value is off by" in failure for failure in report.failures)


def test_a_change_below_rounding_shows_in_the_constants(
    good: Path, tiny_checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    name = "layers.1.residual_group.overlap_attn.frozen"
    broken = damaged(good, tmp_path / "x.onnx", change(name, 1e-6))
    report = run(broken, tiny_checkpoint, photo, whole=False)
    assert report.foreign_constants is not None
    (found,) = report.foreign_constants
    assert found.endswith(name)
    (failure,) = report.failures
    assert found in failure


@pytest.mark.slow
def test_half_precision_is_held_to_its_own_limits_and_constants(
    tiny_network: HAT,
    tiny_checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    exported: Callable[..., ExportReport],
) -> None:
    half = exported(tiny_network, tile=(16, 16), precision="fp16", io="uint8").path
    report = run(half, tiny_checkpoint, photo)
    assert report.passed
    assert report.limits == Limits.of("fp16").for_bytes()
    assert report.pictures[0].precision.share_off_by_one > 0
    broken = damaged(half, tmp_path / "x.onnx", change("overlap_attn.frozen", 1e-3))
    assert not run(broken, tiny_checkpoint, photo).passed


def test_another_checkpoint_is_said_and_fails(
    good: Path, tiny_checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pth"
    save_checkpoint(random_network(tiny_config(), seed=1), other)
    report = run(good, other, photo)
    assert any("from another file" in warning for warning in report.warnings)
    assert not report.passed


def test_the_same_weights_in_another_file_are_said_and_pass(
    tiny_onnx: Path, tiny_checkpoint: Path, photo: Path
) -> None:
    report = run(tiny_onnx, tiny_checkpoint, photo)
    assert any("from another file" in warning for warning in report.warnings)
    assert report.passed


def test_a_constant_the_checkpoint_does_not_store_must_be_given(
    good: Path, tiny_checkpoint: Path, photo: Path
) -> None:
    report = run(good, tiny_checkpoint, photo, conv_scale=0.5)
    assert any("conv_scale 0.01" in warning for warning in report.warnings)
    assert not report.passed


def test_gray_pictures_are_said_to_prove_less(
    good: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    report = run(good, tiny_checkpoint, saved(gray, tmp_path / "gray.png"))
    assert any("gray" in warning for warning in report.warnings)


def test_networks_of_different_scale_cannot_be_compared(
    good: Path, photo: Path, tmp_path: Path
) -> None:
    other = tmp_path / "x4.pth"
    save_checkpoint(random_network(tiny_config(4)), other)
    with pytest.raises(UsageError, match="scale is 2, the reference's 4"):
        run(good, other, photo)


def test_tiles_are_put_together_where_they_belong(tiny_network: HAT) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (37, 22, 3), dtype=np.uint8)
    comparison = Comparison(IdentityEngine((16, 16), batch=3), tiny_network, halo=2)
    found = comparison.run(Sample(name="x", pixels=pixels))
    whole = reference_of(tiny_network, pixels)
    enlarged = (pixels.repeat(2, 0).repeat(2, 1).transpose(2, 0, 1) / np.float32(255)).astype("f4")
    assert found.total is not None
    assert found.total.sum_abs == pytest.approx(compare(whole, enlarged).sum_abs, rel=1e-5)


def test_tiling_error_is_what_the_reference_itself_does_in_tiles(tiny_network: HAT) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    comparison = Comparison(IdentityEngine((16, 16)), tiny_network, halo=0)
    found = comparison.run(Sample(name="x", pixels=pixels))
    halves = [reference_of(tiny_network, half) for half in (pixels[:, :16], pixels[:, 16:])]
    expected = compare(reference_of(tiny_network, pixels), np.concatenate(halves, axis=2))
    assert found.tiling is not None
    assert expected.max_abs > 0.01
    assert found.tiling.max_abs == pytest.approx(expected.max_abs, abs=1e-5)
    assert found.tiling.mean_abs == pytest.approx(expected.mean_abs, abs=1e-6)


def test_one_tile_that_is_the_whole_picture_has_no_tiling_error(tiny_network: HAT) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    engine = TorchEngine(tiny_network, tile=(16, 16))
    found = Comparison(engine, tiny_network, halo=0).run(Sample(name="x", pixels=pixels))
    assert found.tiling is not None
    assert found.tiling.max_abs == found.precision.max_abs == 0.0
    assert found.to_dict()["precision"]["psnr"] is None


def test_values_that_are_not_finite_always_fail(tiny_network: HAT) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    found = Comparison(NaNEngine(), tiny_network, halo=0).run(Sample(name="x", pixels=pixels))
    failures = list(found.failures(Limits(min_psnr=0, max_abs=10)))
    assert len(failures) == 2
    assert all("not finite" in failure for failure in failures)
    assert found.precision.non_finite == 3 * 40 * 40
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_picture_too_large_for_memory_is_only_compared_in_tiles(tiny_network: HAT) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    comparison = Comparison(IdentityEngine(), tiny_network, halo=0, free_memory=1 << 16)
    found = comparison.run(Sample(name="x", pixels=pixels))
    assert found.tiling is None
    assert found.total is None
    assert "GB" in (found.whole_skipped or "")
    assert free_memory("cpu") > 1 << 16


class ByteEngine(IdentityEngine):
    """The network behind an interface of bytes; ``shift`` moves its output by pixels."""

    def __init__(self, network: HAT, shift: int = 0) -> None:
        super().__init__((16, 16), layout="NHWC")
        self.network = network
        self.shift = shift

    def run(self, batch: Array) -> Array:
        x = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            y = self.network(x).clamp(0, 1).mul(255).round().to(torch.uint8)
        return np.roll(y.permute(0, 2, 3, 1).numpy(), self.shift, axis=2)


@pytest.mark.parametrize(("shift", "passes"), [(0, True), (1, False)])
def test_an_engine_of_bytes_is_held_against_the_rounded_reference(
    tiny_network: HAT, photo: Path, shift: int, passes: bool
) -> None:
    comparison = Comparison(ByteEngine(tiny_network, shift), tiny_network, halo=4)
    found = comparison.run(samples.read(photo, 3))
    limits = Limits.of("fp32").for_bytes()
    assert (not list(found.failures(limits))) is passes


@pytest.mark.parametrize("psnr", [90.0, 70.0, 60.0, 50.0])
def test_limits_for_bytes_admit_what_the_limits_for_floats_admit(psnr: float) -> None:
    rng = np.random.default_rng(0)
    exact = rng.uniform(0.1, 0.9, 1_000_000)
    # All errors of one size: of all that have this RMS, those that cross most often.
    error = 10 ** (-psnr / 20) * rng.choice([-1.0, 1.0], exact.shape)
    rounded = [np.rint(values * 255) / 255 for values in (exact, exact + error)]
    found = compare(*rounded)
    limits = Limits(min_psnr=psnr, max_abs=10 ** (-psnr / 20)).for_bytes()
    assert found.psnr >= limits.min_psnr - 0.3
    assert found.psnr <= limits.min_psnr + 6
    assert found.max_abs <= limits.max_abs


def test_limits_follow_precision_and_the_user() -> None:
    assert Limits.of("fp32") == Limits(min_psnr=90, max_abs=1e-4, rounding=10)
    assert Limits.of("fp16") == Limits(min_psnr=60, max_abs=0.03)
    assert Limits.of("bf16") == Limits(min_psnr=50, max_abs=0.1)
    assert Limits.of("fp32", min_psnr=100).rounding == 10
    assert Limits.of("fp32", min_psnr=40) == Limits(min_psnr=40, max_abs=0.32)
    assert Limits.of("fp32", max_abs=0.5) == Limits(min_psnr=90, max_abs=0.5)
    with pytest.raises(UsageError, match="int8"):
        Limits.of("int8")


def test_pictures_that_ship_always_take_more_than_one_tile() -> None:
    small = samples.shipped((64, 64), 16, 3)
    large = samples.shipped((256, 256), 16, 3)
    assert [s.pixels.shape for s in small] == [(128, 160, 3), (160, 128, 3)]
    assert [s.pixels.shape for s in large] == [(128, 272, 3), (272, 128, 3)]
    assert np.array_equal(large[0].pixels[:, :160], small[0].pixels)
    assert np.array_equal(large[0].pixels[:, 160:170], small[0].pixels[:, 149:159][:, ::-1])
    assert [s.pixels.shape[2] for s in samples.shipped((64, 64), 16, 1)] == [1, 1]


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hat-deploy", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return int(raised.value.code or 0)


def test_the_command_decides_by_its_exit_code(
    good: Path,
    tiny_checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = damaged(good, tmp_path / "x.onnx", swap_red_and_blue)
    rest = ("--reference", tiny_checkpoint, photo)
    assert exit_code(monkeypatch, "verify", "--engine", good, *rest) == 0
    output = capsys.readouterr().out
    assert "verified: every tile" in output
    assert "tiling alone" in output
    assert "…" not in output
    assert exit_code(monkeypatch, "verify", "--engine", broken, *rest) == 1
    captured = capsys.readouterr()
    assert "worst tile" in captured.out
    assert "not verified" in captured.err
    assert exit_code(monkeypatch, "verify", "--engine", broken, *rest, "--json") == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False
    loose = ("--min-psnr", 1, "--max-abs", 9)
    assert exit_code(monkeypatch, "verify", "--engine", broken, *rest, *loose) == 0
    assert exit_code(monkeypatch, "verify", "--engine", photo, *rest) == 2


def test_ranges_prints_each_block_of_a_checkpoint_and_advice(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("ranges", tiny_checkpoint)
    assert exit_code(monkeypatch, *arguments) == 0
    output = capsys.readouterr().out
    assert "images: astronaut.png, coffee.png" in output
    assert "…" not in output
    rows = [line.split() for line in output.splitlines() if line.startswith(" layers.")]
    assert [row[0].removeprefix("layers.0.residual_group.") for row in rows[:4]] == [
        "blocks.0",
        "blocks.1",
        "overlap_attn",
        "layers.0",
    ]
    assert [len(row) for row in rows] == [5, 5, 5, 3] * 2
    for _, *values, share in rows:
        largest = max(map(float, values))
        assert float(share.rstrip("%")) == pytest.approx(largest / 655.04, rel=0.01)
    assert "fp16 is safe" in output


def test_ranges_warn_an_amplified_network_off_pure_half(
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loud = tmp_path / "loud.pth"
    save_checkpoint(amplified(tiny_config(), 2.0**17), loud)
    arguments = ("ranges", loud, photo)
    assert exit_code(monkeypatch, *arguments) == 0
    assert "not fp16-pure" in capsys.readouterr().out
    assert exit_code(monkeypatch, *arguments, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pictures"] == ["photo.png"]
    assert "not fp16-pure" in report["advice"]
    assert report["reference"]["sha256"] == sha256(loud)
    assert max(block["stream_share"] for block in report["blocks"]) > 1


def test_ranges_see_all_of_a_picture_larger_than_a_tile(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pixels = np.zeros((150, 300, 3), np.uint8)
    dark = saved(pixels, tmp_path / "dark.png")
    pixels[140:, 290:] = np.random.default_rng(0).integers(0, 256, (10, 10, 3))
    lively = saved(pixels, tmp_path / "lively.png")
    # The last tile, 128x128 of the picture padded to 152x300, as a picture of its own.
    corner = saved(pixels[24:, 172:], tmp_path / "corner.png")
    without, whole, last = (
        ranges.report(tiny_checkpoint, [path], ranges.RangesOptions()).peaks
        for path in (dark, lively, corner)
    )
    assert all(a.stream >= b.stream for a, b in zip(whole, last, strict=True))
    assert any(a.stream < b.stream for a, b in zip(without, last, strict=True))


def test_ranges_that_are_not_finite_are_null_in_json(photo: Path, tmp_path: Path) -> None:
    network = random_network(tiny_config())
    with torch.no_grad():
        network.conv_first.weight.fill_(3e38)
    save_checkpoint(network, tmp_path / "huge.pth")
    found = ranges.report(tmp_path / "huge.pth", [photo], ranges.RangesOptions())
    blocks = json.loads(json.dumps(found.to_dict(), allow_nan=False))["blocks"]
    assert blocks[0]["stream"] is None
    assert blocks[0]["stream_share"] is None


def test_verify_needs_an_artifact(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch, "verify", "--reference", tiny_checkpoint) == 2
    assert "Missing option '--engine'" in capsys.readouterr().err
