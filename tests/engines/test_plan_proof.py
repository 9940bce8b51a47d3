"""A plan that was built for this machine's GPU is run on it before it is kept: simulated here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import SimulatedCuda, SimulatedTensorRT

from hat_deploy import engines
from hat_deploy.artifact import Artifact, describe
from hat_deploy.artifact.self_test import fixed_tile
from hat_deploy.engines import cuda
from hat_deploy.engines.tensorrt.engine import TensorRTEngine
from hat_deploy.engines.tensorrt.library import Library
from hat_deploy.errors import CheckFailed
from hat_deploy.export import to_plan
from hat_deploy.export.to_plan import BuildOptions, BuildReport

pytest.importorskip("tensorrt_rtx_bindings")

SHAPES = {"input": (2, 3, 24, 16), "output": (2, 3, 48, 32)}
Build = Callable[..., BuildReport]


@pytest.fixture
def build(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds a real plan, and runs it on a GPU whose plans repeat every pixel."""
    monkeypatch.setattr(to_plan, "local_gpu", lambda: "sm89")
    monkeypatch.setattr(cuda, "installed", lambda: True)

    def open_artifact(path: Path, *, self_test: bool) -> TensorRTEngine:
        assert not self_test
        device = SimulatedCuda()
        version = describe(path).versions["rtx"]
        trt = SimulatedTensorRT(device, shapes=SHAPES, version=version)
        return TensorRTEngine(Artifact(path), library=Library("rtx", trt), device=device)

    monkeypatch.setattr(engines, "open_artifact", open_artifact)

    def run(**options: Any) -> BuildReport:
        return to_plan.build(
            tiny_onnx, tmp_path / "x.plan", BuildOptions(gpus=("sm89",)), **options
        )

    return run


def test_one_that_computes_the_reference_is_kept_with_its_proof(build: Build) -> None:
    tile = fixed_tile(24, 16, 3).transpose(2, 0, 1) / np.float32(255)
    report = build(expected=tile.repeat(2, 1).repeat(2, 2))
    assert report.proof is not None and report.proved_by is not None
    assert report.proof.count == 2 * 3 * 48 * 32
    assert report.proof.psnr > 100
    assert "NVIDIA Imaginary" in report.proved_by
    assert report.path.is_file()


@pytest.mark.parametrize("whole", [True, False])
def test_one_that_does_not_is_not_kept(build: Build, tmp_path: Path, whole: bool) -> None:
    expected = np.zeros((3, 48, 32), np.float32) if whole else None
    with pytest.raises(CheckFailed, match=r"plan was built and does not compute .*Imaginary"):
        build(expected=expected)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []
