from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hat_deploy.engines import cuda, doctor
from hat_deploy.engines.cuda import driver
from hat_deploy.engines.cuda.base import GPU
from hat_deploy.engines.tensorrt import library
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import ArtifactError, HatDeployError, MissingExtraError


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
    monkeypatch.setattr(doctor, "driver_version", lambda: "580.65")
    monkeypatch.setattr(doctor, "cuda_version", lambda: 13000)
    found = finding("TensorRT, cuda")
    says = "TensorRT 11.4.0, NVIDIA L4 (sm89), driver 580.65 takes up to CUDA 13.0, at least "
    assert found.usable
    assert found.detail.startswith(says)
    assert Device.closed


def test_a_driver_too_old_is_said_before_the_library_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    assert Flavour.RTX.least_driver == 13000  # of the cu13 wheels
    rtx = library.load("rtx")
    monkeypatch.setattr(library, "cuda_version", lambda: 12080)
    with pytest.raises(HatDeployError, match=r"needs a driver for CUDA 13\.0, and .* CUDA 12\.8"):
        rtx.open(tmp_path / "x.plan")


def test_both_spellings_of_the_recorders_count() -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    recorder = library.load("rtx").reports.recorder
    recorder.clear()
    recorder.report_error(None, "one")
    assert recorder.num_errors() == recorder.get_num_errors() == 1
    recorder.clear()


def test_a_build_with_cuda_that_does_not_start_is_not_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The CPU build of the library, which says that it has CUDA: opening a session shows more."""
    ort = pytest.importorskip("onnxruntime")
    if driver.local_gpu() is not None:
        pytest.skip("this machine has a GPU")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    found = finding("onnxruntime, cuda")
    assert not found.usable
    assert "CUDA" in found.detail and "this machine has no NVIDIA driver" in found.detail


def test_the_node_that_doctor_opens_is_a_model() -> None:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(doctor._one_node(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.float32([3])})
    assert result.tolist() == [3]


def test_the_libraries_that_the_extras_bring_are_loaded_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hat_deploy.engines import onnxruntime

    loaded: list[str] = []

    def preload_dlls() -> None:
        print("Failed to load libcudnn.so.9")
        loaded.append("cuda")

    monkeypatch.setattr(onnxruntime.ort, "preload_dlls", preload_dlls, raising=False)
    onnxruntime.preload.cache_clear()
    onnxruntime.preload()
    onnxruntime.preload()
    assert loaded == ["cuda"]
    assert capsys.readouterr().out == ""
    onnxruntime.preload.cache_clear()
