"""The few calls of CUDA that an engine needs, whichever library makes them.

``base`` is the interface; ``driver`` asks the driver itself and needs no library; each other
module wraps one library and is the only one to import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hat_deploy import errors
from hat_deploy.engines.cuda.driver import local_gpu
from hat_deploy.errors import UsageError, first_installed, needed_for

if TYPE_CHECKING:
    from hat_deploy.engines.cuda.base import Cuda

CUDA_PYTHON = ("cuda.bindings", "cuda.cudart")
PYCUDA = ("pycuda.driver",)
"""Modules that each library consists of, the older name last."""


def open_device(*, extra: str, purpose: str, number: int = 0) -> Cuda:
    """A GPU, through ``cuda-python`` or, where only that is there, ``pycuda``.

    It becomes the current one of this thread, which alone may use what is made here.

    Args:
        number: of the GPU among those that are visible.
        extra: what to install where neither is there.
        purpose: starts the sentence that says so.

    Raises:
        UsageError: the driver sees no GPU.
        MissingExtraError: neither library is installed.
        CudaError: the device cannot be used.
    """
    if local_gpu() is None:
        raise UsageError(
            f"{purpose} needs an NVIDIA GPU and its driver, and this machine has none: run the "
            ".onnx file on the CPU instead"
        )
    if _any(CUDA_PYTHON) or not _any(PYCUDA):
        first_installed(*CUDA_PYTHON, title="cuda-python", purpose=purpose, extra=extra)
        with needed_for(purpose, library="cuda"):
            from hat_deploy.engines.cuda.cuda_python import CudaPython
        return CudaPython(number)
    with needed_for(purpose, library="pycuda"):
        from hat_deploy.engines.cuda.pycuda import PyCuda
    return PyCuda(number)


def installed() -> bool:
    """Whether there is a library to call CUDA with; none is loaded."""
    return _any(CUDA_PYTHON) or _any(PYCUDA)


def _any(modules: tuple[str, ...]) -> bool:
    return any(map(errors.installed, modules))
