"""What of the CUDA interface can be seen without a GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hat_deploy.engines import cuda
from hat_deploy.engines.cuda import driver
from hat_deploy.engines.cuda.base import CudaError
from hat_deploy.errors import ArtifactError, MissingExtraError, UsageError

needs_no_gpu = pytest.mark.skipif(driver.local_gpu() is not None, reason="this machine has a GPU")


def test_out_of_memory_is_known_by_its_number() -> None:
    error = CudaError("cudaMalloc", 2, "cudaErrorMemoryAllocation", "out of memory")
    assert error.out_of_memory
    assert isinstance(error, ArtifactError)
    assert str(error) == (
        "the CUDA call cudaMalloc failed with cudaErrorMemoryAllocation (2): out of memory"
    )
    assert not CudaError("cudaLaunch", 700, "cudaErrorIllegalAddress").out_of_memory


@needs_no_gpu
def test_without_a_gpu_it_is_said_before_any_library_is_missed() -> None:
    assert driver.local_gpu_name() is None
    with pytest.raises(UsageError, match="Running it needs an NVIDIA GPU"):
        cuda.open_device(extra="gpu", purpose="Running it")


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "local_gpu", lambda: "sm89")
    for name in (
        "cuda",
        "cuda.bindings",
        "cuda.cudart",
        "pycuda",
        "hat_deploy.engines.cuda.cuda_python",
    ):
        monkeypatch.setitem(sys.modules, name, None)
    assert not cuda.installed()
    with pytest.raises(MissingExtraError, match=r"cuda-python.*\.\[rtx\]"):
        cuda.open_device(extra="rtx", purpose="Running it")


@needs_no_gpu
def test_the_real_library_reports_a_missing_driver_by_name() -> None:
    pytest.importorskip("cuda.bindings")
    from hat_deploy.engines.cuda.cuda_python import CudaPython

    with pytest.raises(CudaError, match=r"cudaSetDevice failed with cudaError\w+ \(\d+\): "):
        CudaPython()


def test_threads_that_wait_are_told_to_sleep_before_the_device_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("cuda.bindings")
    from hat_deploy.engines.cuda import cuda_python

    calls: list[object] = []

    class Runtime:
        def __getattr__(self, name: str) -> object:
            if name == "cudaDeviceScheduleBlockingSync":
                return 4
            if name == "cudaInitDeviceFlagsAreValid":
                return 1

            def call(*arguments: object) -> tuple[object, ...]:
                calls.append((name, *arguments))
                return 0, Properties()

            call.__name__ = name
            return call

    class Properties:
        name, major, minor = b"NVIDIA L4\0", 8, 9

    monkeypatch.setattr(cuda_python, "runtime", Runtime())
    assert cuda_python.CudaPython().gpu.sm == "sm89"
    assert calls[0] == ("cudaSetDeviceFlags", 4)
    assert ("cudaSetDevice", 0) in calls[1:]
    calls.clear()
    cuda_python.CudaPython(2)
    assert calls[0] == ("cudaInitDevice", 2, 4, 1)
    assert ("cudaSetDevice", 2) in calls[1:]


def test_the_interface_loads_no_library() -> None:
    code = (
        "import sys, hat_deploy.engines.cuda, hat_deploy.engines.tensorrt.engine\n"
        "import hat_deploy.export.to_plan\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"cuda", "pycuda", "torch", "onnx", "onnxruntime", "cv2", "tensorrt"}
