"""``upscale --device`` with several devices: results and journals as with one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import Run
from tiny import random_edsr

from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.folders.journal import JournalReader

SIZES = [(40, 60), (9, 13), (70, 33), (40, 60), (1, 5)]


@pytest.fixture(scope="module")
def any_size(exported: Callable[..., ExportReport]) -> Path:
    return exported(random_edsr(), tile=(32, 32), any_size=True).path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, size in enumerate(SIZES):
        picture(tmp_path / f"photos/{number}.png", (*size, 3))
    picture(tmp_path / "photos/deep.png", (50, 20, 3), np.uint16)
    picture(tmp_path / "photos/alpha.png", (20, 50, 4))
    return tmp_path / "photos"


def picture(path: Path, shape: tuple[int, ...], dtype: type = np.uint8) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(shape).integers(0, np.iinfo(dtype).max, shape, dtype)
    assert cv2.imwrite(str(path), noise)


def results(folder: Path) -> dict[str, str]:
    """Hashes by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.*g")
    }


def settings(folder: Path) -> list[dict[str, object]]:
    with JournalReader(folder) as journal:
        return [dict(found) for found in journal.settings]


def test_a_folder_comes_out_as_with_one_and_is_resumed_with_any_number(
    run: Run, any_size: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"upscale {photos} --engine {any_size}"
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(f"{command} -o {one} --device cpu").code == 0
    done = run(f"{command} -o {two} --device cpu,cpu --json")
    assert done.code == 0
    assert json.loads(done.out)["engine"].startswith("2 x openvino")
    assert results(one) == results(two) and len(results(one)) == len(SIZES) + 2
    assert settings(one) == settings(two)
    monkeypatch.setenv("HAT_DEPLOY_DEVICE", "cpu,cpu,cpu")
    assert "0 upscaled, 7 skipped" in run(f"{command} -o {one}").out
    (one / "deep.png").unlink()
    assert "1 upscaled, 6 skipped" in run(f"{command} -o {one} --streams 2 --threads 1").out
    assert results(one) == results(two)


def test_it_goes_with_other_options(run: Run, any_size: Path, photos: Path, tmp_path: Path) -> None:
    command = f"upscale {photos} --engine {any_size} --device cpu,cpu"
    assert "7 to upscale" in run(f"{command} --dry-run").out
    done = run(f"{command} --tile auto --backend onnxruntime --threads 3 --json")
    assert json.loads(done.out)["engine"].endswith("3 threads each")
    for device in ("cpu", "cpu,cpu"):
        target = tmp_path / f"{device}.png"
        line = f"upscale {photos / '0.png'} --engine {any_size} -o {target} --device {device}"
        assert run(line).code == 0
    assert len({*results(tmp_path).values()}) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("upscale photos --device cpu,cuda:0", "name GPUs or the CPU, not both"),
        ("upscale photos --device cuda:1,cuda:1", "a GPU is named twice"),
        ("upscale photos --device cpu,gpu", "several as cuda:all, cuda:0,cuda:1 or cpu,cpu"),
        ("verify --engine x.onnx --reference x.pth --device cpu,cpu", "name one device here"),
        ("evaluate --hr photos --device cuda:all", "name one device here"),
        ("bench --device cpu,cpu", "name one device here"),
        ("upscale photos --engine x.plan --device cpu,cpu", "a plan runs in TensorRT on the GPU"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(run: Run, line: str, says: str) -> None:
    assert run(line).refused(says)


def test_the_variable_that_a_list_came_from_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAT_DEPLOY_DEVICE", "cpu,cpu")
    ended = run("verify --engine x.onnx --reference x.pth")
    assert ended.refused("name one device here", "HAT_DEPLOY_DEVICE=cpu,cpu")
