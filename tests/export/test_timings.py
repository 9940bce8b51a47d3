"""What TensorRT timed is kept: a builder of that name is found by the process that builds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hat_deploy import cache
from hat_deploy.artifact import describe
from hat_deploy.export import timings, to_plan
from hat_deploy.export.to_plan import BuildOptions

BUILDER = Path(__file__).parents[1] / "engines" / "simulated_builder.py"
OPTIONS = BuildOptions(flavour="tensorrt")


@pytest.fixture
def timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What builds timed, a line each; the builder is the simulated one."""
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copyfile(BUILDER, folder / "tensorrt.py")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(to_plan, "local_gpu", lambda: "sm90")
    monkeypatch.setattr(to_plan.cuda, "installed", lambda: False)
    return folder / "timed.txt"


def kept() -> list[Path]:
    return [path for path in cache.cache_folder().iterdir() if path.suffix == timings.SUFFIX]


def test_a_second_build_times_nothing_again(timed: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        made = to_plan.build(tiny_onnx, tmp_path / f"{name}.plan", OPTIONS)
        assert describe(made.path).versions["tensorrt"] == "10.13.0"
        assert timed.read_text().split() == ["attention", "convolution"]
    assert len(kept()) == 1


@pytest.mark.parametrize("content", [b"9.3.0 attention", b""])
def test_timings_of_another_release_are_replaced(
    timed: Path, tiny_onnx: Path, tmp_path: Path, content: bytes
) -> None:
    made_from = {"timings of": "tensorrt", "gpu": timings.local_gpu_name()}
    cache.keep(made_from, timings.SUFFIX, lambda path: path.write_bytes(content))
    to_plan.build(tiny_onnx, tmp_path / "x.plan", OPTIONS)
    assert [path.read_bytes() for path in kept()] == [b"10.13.0 attentionconvolution"]


def test_another_gpu_has_timings_of_its_own(
    timed: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NVIDIA L4", "NVIDIA H200"):
        monkeypatch.setattr(timings, "local_gpu_name", lambda name=name: name)
        to_plan.build(tiny_onnx, tmp_path / "x.plan", OPTIONS)
    assert len(timed.read_text().split()) == 4
    assert len(kept()) == 2


def test_without_a_cache_that_can_be_written_a_plan_is_built(
    timed: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "file" / "below"))
    assert to_plan.build(tiny_onnx, tmp_path / "x.plan", OPTIONS).path.is_file()
