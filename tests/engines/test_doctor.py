from __future__ import annotations

import pytest

from hat_deploy.engines import cuda, doctor
from hat_deploy.engines.cuda import driver
from hat_deploy.engines.cuda.base import GPU
from hat_deploy.engines.tensorrt import library
from hat_deploy.errors import ArtifactError, MissingExtraError


def finding(engine: str) -> doctor.Finding:
    (found,) = [each for each in doctor.examine() if each.engine == engine]
    return found


@pytest.mark.skipif(driver.local_gpu() is not None, reason="this machine has a GPU")
def test_without_a_gpu_plans_do_not_run_and_it_says_why() -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    found = finding("TensorRT for RTX, cuda")
    assert not found.usable
    assert "needs an NVIDIA GPU and its driver" in found.detail


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (MissingExtraError("TensorRT", "gpu", "Running plans"), r".[gpu]"),
        (ArtifactError("tensorrt is installed but does not load: no libnvinfer"), "libnvinfer"),
    ],
)
def test_a_tensorrt_that_is_missing_or_broken_is_said(
    monkeypatch: pytest.MonkeyPatch, reason: Exception, says: str
) -> None:
    def load(flavour: str) -> None:
        raise reason

    monkeypatch.setattr(library, "load", load)
    found = finding("TensorRT, cuda")
    assert not found.usable
    assert says in found.detail


def test_one_that_runs_is_named_with_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        title = "TensorRT 11.4.0"

    class Device:
        gpu = GPU("NVIDIA L4", "sm89")
        closed = False

        def close(self) -> None:
            Device.closed = True

    monkeypatch.setattr(library, "load", lambda flavour: Library)
    monkeypatch.setattr(cuda, "open_device", lambda **how: Device())
    found = finding("TensorRT, cuda")
    assert (found.usable, found.detail) == (True, "TensorRT 11.4.0, NVIDIA L4 (sm89)")
    assert Device.closed
