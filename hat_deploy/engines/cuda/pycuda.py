"""CUDA through ``pycuda``, for where it is what is installed. Experimental: it has not been run.

It uses the device's primary context, which the CUDA runtime inside TensorRT uses too; the
context of its own that ``pycuda.autoinit`` makes would be another one. It has no graphs.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pycuda
from pycuda import driver

from hat_deploy.engines.cuda.base import GPU, OUT_OF_MEMORY, Bytes, CudaError

UNKNOWN = 999
"""``cudaErrorUnknown``: pycuda tells codes apart by exception class, and only a few."""
NON_BLOCKING = 1
"""``CU_STREAM_NON_BLOCKING``, for which pycuda has no name."""


class PyCuda:
    """A :class:`~hat_deploy.engines.cuda.base.Cuda` on one device. Experimental.

    It must be used by the thread that made it, whose current context it is.

    Args:
        number: of the device among those that are visible.

    Raises:
        CudaError: there is no device, or it cannot be used.
    """

    def __init__(self, number: int = 0) -> None:
        self._allocations: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        with _checked("retain_primary_context"):
            self._contexts = _contexts_of(number)
            device = self._contexts.enter()
            self._entered = True
            major, minor = device.compute_capability()
            self._gpu = GPU(device.name(), f"sm{major}{minor}")

    @property
    def name(self) -> str:
        """The library and its version."""
        return f"pycuda {pycuda.VERSION_TEXT}"

    @property
    def gpu(self) -> GPU:
        """The device."""
        return self._gpu

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""
        with _checked("mem_get_info"):
            free, total = driver.mem_get_info()
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        """Device memory."""
        with _checked("mem_alloc"):
            allocation = driver.mem_alloc(size)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """Give it back."""
        with _checked("mem_free"):
            self._allocations.pop(address).free()

    def allocate_pinned(self, size: int) -> Bytes:
        """Page-locked memory of the host, as bytes."""
        with _checked("pagelocked_empty"):
            memory: Bytes = driver.pagelocked_empty(size, np.uint8)
        self._pinned[memory.ctypes.data] = memory.base
        return memory

    def free_pinned(self, memory: Bytes) -> None:
        """Give it back."""
        with _checked("mem_host_free"):
            self._pinned.pop(memory.ctypes.data).free()

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""
        with _checked("stream_create"):
            stream = driver.Stream(NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        """Remove it: pycuda does so with the object."""
        del self._streams[stream]

    def synchronize(self, stream: int) -> None:
        """Wait for it."""
        with _checked("stream_synchronize"):
            self._streams[stream].synchronize()

    def copy_in(self, address: int, source: Bytes, stream: int) -> None:
        """Queue a copy to the device."""
        with _checked("memcpy_htod_async"):
            driver.memcpy_htod_async(address, source, self._streams[stream])

    def copy_out(self, target: Bytes, address: int, stream: int) -> None:
        """Queue a copy from the device."""
        with _checked("memcpy_dtoh_async"):
            driver.memcpy_dtoh_async(target, address, self._streams[stream])

    def capture(self, stream: int, work: Callable[[], None]) -> None:
        """Pycuda has no graphs."""

    def launch(self, graph: Any, stream: int) -> None:
        """There is nothing to launch."""
        raise CudaError("launch", UNKNOWN, "cudaErrorUnknown", "pycuda has no graphs")

    def destroy_graph(self, graph: Any) -> None:
        """There is nothing to destroy."""

    def close(self) -> None:
        """Leave the context, which the process may go on using; the second time does nothing."""
        if self._entered:
            self._entered = False
            with _checked("context_pop"):
                self._contexts.leave()


class _Contexts:
    """The primary context of a device: one for the process, entered by each engine.

    Pycuda keeps a stack of contexts for each thread. What is still on it when the thread ends
    aborts the process, so what was never left is left then. The context itself is never given up:
    to detach it would put it on the stack again.
    """

    def __init__(self, number: int) -> None:
        driver.init()
        self._device = driver.Device(number)
        self._context = self._device.retain_primary_context()
        self._here = _Entered()
        atexit.register(self.leave_all)

    def enter(self) -> Any:
        """Make it the current one of this thread; returns its device."""
        self._context.push()
        self._here.times += 1
        return self._device

    def leave(self) -> None:
        """Undo one :meth:`enter` of this thread."""
        self._here.times -= 1
        self._context.pop()

    def leave_all(self) -> None:
        """Undo all of this thread."""
        while self._here.times > 0:
            self.leave()


class _Entered(threading.local):
    """How often this thread has entered a context and not left it."""

    times = 0


@cache
def _contexts_of(number: int) -> _Contexts:
    return _Contexts(number)


@contextmanager
def _checked(call: str) -> Iterator[None]:
    try:
        yield
    except driver.MemoryError as error:  # raised for CUDA_ERROR_OUT_OF_MEMORY and nothing else
        raise CudaError(call, OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", str(error)) from error
    except driver.Error as error:
        raise CudaError(call, UNKNOWN, type(error).__name__, str(error)) from error
