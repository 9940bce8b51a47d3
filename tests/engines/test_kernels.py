"""What TensorRT for RTX compiles when a plan is opened is kept, and taken the next time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated import SimulatedCuda, SimulatedKernels, SimulatedTensorRT, plan_file

from hat_deploy import cache
from hat_deploy.artifact import describe
from hat_deploy.engines.tensorrt import kernels
from hat_deploy.engines.tensorrt.engine import TensorRTEngine
from hat_deploy.engines.tensorrt.library import Library

SHAPES = {"input": (2, 3, 24, 16), "output": (2, 3, 48, 32)}
COMPILED = b"kernels of 1.7.1.116"


@pytest.fixture
def plan(tiny_onnx: Path, tmp_path: Path) -> Path:
    described = replace(describe(tiny_onnx), versions={"rtx": "1.7.1"}, targets=("sm89", "sm120"))
    return plan_file(tmp_path / "tiny.plan", described.to_json(), begins=b"vtrt")


def open_once(plan: Path, *, sm: str = "sm89") -> list[bytes]:
    """Open a plan and run it; the kernels that the library was given."""
    cuda = SimulatedCuda(sm=sm)
    trt = SimulatedTensorRT(cuda, shapes=SHAPES, version="1.7.1.116")
    with TensorRTEngine(plan, library=Library("rtx", trt), device=cuda) as engine:
        assert np.isfinite(engine.run(np.zeros(SHAPES["input"], np.float32))).all()
    assert cuda.leftovers == []
    return trt.given_kernels


def kept() -> list[Path]:
    return [path for path in cache.cache_folder().iterdir() if path.suffix == kernels.SUFFIX]


def test_the_second_time_they_are_taken(plan: Path) -> None:
    assert open_once(plan) == []
    (entry,) = kept()
    assert entry.read_bytes() == COMPILED
    assert open_once(plan) == [COMPILED]
    assert kept() == [entry]


def test_another_gpu_driver_or_plan_has_its_own(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_once(plan)
    assert open_once(plan, sm="sm120") == []
    other = plan_file(tmp_path / "other.plan", describe(plan).to_json(), begins=b"vtrt", padding=1)
    assert open_once(other) == []
    monkeypatch.setattr(kernels, "driver_version", lambda: "580.65")
    assert open_once(plan) == []
    assert len(kept()) == 4


def test_what_the_library_does_not_take_is_compiled_and_kept_anew(plan: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedKernels, "serialize", lambda kernels: b"of another day")
        open_once(plan)
        known = [path.read_bytes() for path in kept()]
    assert known == [b"of another day"]
    assert open_once(plan) == known
    assert [path.read_bytes() for path in kept()] == [COMPILED]
    assert open_once(plan) == [COMPILED]


def test_without_a_cache_that_can_be_written_it_runs(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "file" / "below"))
    assert open_once(plan) == []
    assert open_once(plan) == []
