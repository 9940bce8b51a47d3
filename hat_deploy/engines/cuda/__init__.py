"""The few calls of CUDA that an engine needs, whichever library makes them.

``base`` is the interface; ``driver`` asks the driver itself and needs no library; each other
module wraps one library and is the only one to import it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from hat_deploy.engines.cuda.driver import local_gpu
from hat_deploy.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from hat_deploy.engines.cuda.base import Cuda

CUDA_PYTHON = ("cuda.bindings", "cuda.cudart")
PYCUDA = ("pycuda.driver",)
"""Modules that each library consists of, the older name last."""


def open_device(*, extra: str, purpose: str) -> Cuda:
    """The first GPU, through ``cuda-python`` or, where only that is there, ``pycuda``.

    Args:
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
        try:
            from hat_deploy.engines.cuda.cuda_python import CudaPython
        except ImportError as error:
            raise MissingExtraError("cuda-python", extra, purpose) from error
        return CudaPython()
    from hat_deploy.engines.cuda.pycuda import PyCuda

    return PyCuda()


def installed() -> bool:
    """Whether there is a library to call CUDA with; none is loaded."""
    return _any(CUDA_PYTHON) or _any(PYCUDA)


def _any(modules: tuple[str, ...]) -> bool:
    return any(map(_installed, modules))


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is absent
        return False
