"""What people read: models by name and hash, sizes one way, advice that exists."""

from __future__ import annotations

import csv
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from commands import Run
from PIL import Image

from hat_deploy.api import Upscaler
from hat_deploy.artifact import zoo
from hat_deploy.errors import CheckFailed, PictureError
from hat_deploy.geometry import image_size, tile_size


@pytest.fixture
def folder(here: Path) -> Path:
    """``tiny.onnx`` has tiles 24 high and 16 wide, the images are 32 wide and 40 high."""
    rng = np.random.default_rng(0)
    (here / "photos").mkdir()
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (40, 32, 3), np.uint8)
        Image.fromarray(pixels).save(here / "photos" / f"{name}.png")
    return here


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_evaluate_names_the_model(folder: Path, run: Run) -> None:
    command = "evaluate --hr photos --engine tiny.onnx --csv t.csv --report page.html"
    digest = sha256(folder / "tiny.onnx")
    said = run(command).out
    assert said.splitlines()[0] == f"model: tiny, tiny.onnx, sha256 {digest}"
    values = json.loads(run("evaluate --hr photos --engine tiny.onnx --json").out)
    assert values["model"] == {"name": "tiny", "file": "tiny.onnx", "sha256": digest}
    with (folder / "t.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["model"], row["sha256"]) for row in rows] == [("tiny", digest)] * 3
    page = (folder / "page.html").read_text("utf-8")
    assert "<title>evaluate: tiny</title>" in page
    assert digest in page and "tiny.onnx" in page


def test_the_model_of_a_name_is_its_weights(folder: Path) -> None:
    shipped = zoo.find("hat-nano-x2")
    with Upscaler("hat-nano-x2") as upscaler:
        assert upscaler.model == {
            "name": "hat-nano-x2",
            "file": str(shipped.checkpoint),
            "sha256": sha256(shipped.checkpoint),
        }


def test_sizes() -> None:
    assert image_size(480, 640) == "640x480"
    assert tile_size((256, 256)) == "256x256"
    assert tile_size((192, 320)) == "192x320 (height x width)"


@pytest.mark.slow
def test_images_are_width_x_height_everywhere(folder: Path, run: Run) -> None:
    page = folder / "page.html"
    verify = "verify --engine tiny.onnx --reference tiny.pth --no-whole --report page.html"
    ended = run(verify + " photos/a.png")
    assert "a.png, 32x40" in ended.out
    assert "a.png, 32x40" in page.read_text("utf-8")
    assert "24x16 (height x width)" in page.read_text("utf-8")
    assert "40x32" not in ended.out + page.read_text("utf-8")
    told = run("upscale photos --engine tiny.onnx --dry-run").out
    assert "a.png, 32x40 to 64x80" in told
    run("evaluate --hr photos --engine tiny.onnx --report page.html")
    assert "a.png, 32x40" in page.read_text("utf-8")
    bench = "bench --engine tiny.onnx --no-reference --no-memory --iterations 1 --seconds 0"
    told = run(bench + " --scope call --image photos/a.png").out
    assert "image: a.png, 32x40" in told
    assert "tile 24x16 (height x width)" in told
    assert "tile 24x16 (height x width)" in run("info tiny.onnx").out
    told = run("attribute photos/a.png --model tiny.pth --box 0,0,32,8 --steps 2 --around 1").out
    assert "over 32x12 pixels" in told


@pytest.mark.slow
def test_a_file_that_bench_cannot_read_is_named(folder: Path, run: Run) -> None:
    (folder / "bad.png").write_bytes(b"hello")
    Image.new("L", (20, 20)).save(folder / "gray.png")
    bench = "bench --engine tiny.onnx --no-reference --no-memory --image"
    assert run(f"{bench} bad.png").refused("bad.png: it is a text file")
    assert run(f"{bench} gray.png").refused("gray.png is gray: bench takes RGB")


def test_verify_takes_folders(folder: Path, run: Run) -> None:
    ended = run("verify --engine tiny.onnx --reference tiny.pth --no-whole photos --json")
    assert ended.code == 0, ended.err
    assert [p["name"] for p in json.loads(ended.out)["pictures"]] == ["a.png", "b.png"]
    told = json.loads(run("ranges tiny.pth photos --json").out)
    assert told["pictures"] == ["a.png", "b.png"]
    (folder / "empty").mkdir()
    ended = run("verify --engine tiny.onnx --reference tiny.pth empty")
    assert ended.refused("no images found in the folder empty")


def test_a_folder_without_images_is_not_a_failure(folder: Path, run: Run) -> None:
    (folder / "empty").mkdir()
    ended = run("upscale empty --engine tiny.onnx")
    assert ended.code == 0, ended.err
    assert "no images found in empty: there is nothing to do" in ended.out


def test_the_limit_on_pixels_names_its_option(folder: Path, run: Run) -> None:
    ended = run("upscale photos --engine tiny.onnx --max-pixels 100")
    assert ended.code == 3
    assert ended.err.count("raise the limit, --max-pixels,") == 2


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorrt_rtx_bindings") is None, reason="there is no builder here")
def test_a_plan_from_a_checkpoint_speaks_of_no_onnx_file(folder: Path, run: Run) -> None:
    ended = run("export tiny.pth -o tiny.plan --tile 16 --gpu sm89")
    assert ended.code == 0, ended.err
    assert "hat.onnx" not in ended.out and "this file" not in ended.out
    assert "what was proved is the ONNX graph made on the way, which is not kept" in ended.out
    ended = run("export tiny.onnx -o other.plan --gpu sm89")
    assert "what was proved is tiny.onnx, when it was made" in ended.out


@pytest.mark.slow
def test_what_fails_on_the_way_to_a_plan_names_no_file_that_is_gone(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hat_deploy.errors import ArtifactError
    from hat_deploy.export import to_plan

    def refuse(source: Path, *arguments: object, **options: object) -> None:
        raise ArtifactError(f"TensorRT cannot build {source}: no memory")

    monkeypatch.setattr(to_plan, "choose", lambda options: ("rtx", "module", ("sm89",)))
    monkeypatch.setattr(to_plan, "build", refuse)
    ended = run("export tiny.pth -o tiny.plan --tile 16 --gpu sm89")
    assert ended.refused("cannot build the ONNX graph made on the way: no memory")


class TestThePythonApiNamesTheFile:
    def test_one_that_cannot_be_read(self, folder: Path) -> None:
        (folder / "bad.png").write_bytes(b"hello")
        with Upscaler(folder / "tiny.onnx") as upscaler:
            with pytest.raises(PictureError, match=r"bad\.png: it is a text file") as raised:
                upscaler.upscale_file("bad.png", "out.png")
            assert raised.value.path == Path("bad.png")
            with pytest.raises(PictureError, match=r"none\.png: "):
                upscaler.upscale_file("none.png", "out.png")

    def test_one_that_cannot_be_written(self, folder: Path) -> None:
        (folder / "file").touch()
        upscaler = Upscaler(folder / "tiny.onnx")
        with upscaler, pytest.raises(PictureError, match=r"a\.png: .*cannot be written"):
            upscaler.upscale_file("photos/a.png", "file/out.png")

    def test_a_result_that_is_not_finite(self, folder: Path) -> None:
        from fakes import NaNEngine

        with pytest.raises(CheckFailed, match=r"photos/a\.png: "):
            Upscaler(NaNEngine()).upscale_file("photos/a.png", "out.png")


def test_models_and_doctor_as_json(run: Run) -> None:
    (model,) = json.loads(run("models --json").out)
    assert model["name"] == "hat-nano-x2" and Path(model["folder"]).is_dir()
    found = json.loads(run("doctor --json").out)
    assert {"engine", "usable", "detail"} == found["engines"][0].keys()
    assert any(each["usable"] for each in found["engines"])
