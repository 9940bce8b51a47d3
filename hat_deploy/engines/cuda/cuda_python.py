"""CUDA through NVIDIA's ``cuda-python``: the runtime API, on the device's primary context.

Every call returns its status first. See https://nvidia.github.io/cuda-python/ and, for the
meaning of each, the CUDA Runtime API's own reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from hat_deploy.engines.cuda.base import GPU, Bytes, CudaError

try:
    from cuda.bindings import runtime
except ImportError:  # before 12.6.1 it was here
    from cuda import cudart as runtime

try:
    VERSION = version("cuda-bindings")
except PackageNotFoundError:  # before 12.6.1 there was one distribution
    VERSION = version("cuda-python")


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Make one call.

    Returns:
        What it returns besides the status: None, one value, or a tuple.

    Raises:
        CudaError: the status is not success.
    """
    status, *values = function(*arguments)
    if int(status):
        raise CudaError(function.__name__, int(status), *_explain(status))
    if len(values) > 1:
        return tuple(values)
    return values[0] if values else None


def _explain(status: Any) -> tuple[str, str]:
    """A status as CUDA names it, and what that means."""
    texts = (runtime.cudaGetErrorName(status)[1], runtime.cudaGetErrorString(status)[1])
    name, meaning = (t.decode() if isinstance(t, bytes) else str(t) for t in texts)
    return name, meaning


def _let_waiting_threads_sleep(number: int) -> None:
    """Before the device is set: a thread that waits for it would otherwise keep a core busy, which
    decoding and encoding need. Where the device is in use already, its owner has decided."""
    flags = runtime.cudaDeviceScheduleBlockingSync
    if number == 0:
        runtime.cudaSetDeviceFlags(flags)
    else:  # those of a device that is not the current one
        runtime.cudaInitDevice(number, flags, runtime.cudaInitDeviceFlagsAreValid)
    runtime.cudaGetLastError()  # or the next call that checks would report it again


class CudaPython:
    """A :class:`~hat_deploy.engines.cuda.base.Cuda` on one device.

    The device becomes the current one of the thread, which must be the one that uses it.

    Args:
        number: of the device among those that are visible.

    Raises:
        CudaError: there is none, or it cannot be used.
    """

    def __init__(self, number: int = 0) -> None:
        _let_waiting_threads_sleep(number)
        call(runtime.cudaSetDevice, number)
        properties = call(runtime.cudaGetDeviceProperties, number)
        name = properties.name.decode("utf-8", "replace").rstrip("\0")
        self._gpu = GPU(name, f"sm{properties.major}{properties.minor}")

    @property
    def name(self) -> str:
        """The library and its version."""
        return f"cuda-python {VERSION}"

    @property
    def gpu(self) -> GPU:
        """The device."""
        return self._gpu

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""
        free, total = call(runtime.cudaMemGetInfo)
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        """Device memory."""
        return int(call(runtime.cudaMalloc, size))

    def free(self, address: int) -> None:
        """Give it back; waits until the device no longer uses it."""
        call(runtime.cudaFree, address)

    def allocate_pinned(self, size: int) -> Bytes:
        """Page-locked memory of the host, as bytes."""
        address = int(call(runtime.cudaHostAlloc, size, runtime.cudaHostAllocDefault))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, memory: Bytes) -> None:
        """Give it back."""
        call(runtime.cudaFreeHost, memory.ctypes.data)

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""
        return int(call(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        """Remove it."""
        call(runtime.cudaStreamDestroy, stream)

    def synchronize(self, stream: int) -> None:
        """Wait for it."""
        call(runtime.cudaStreamSynchronize, stream)

    def copy_in(self, address: int, source: Bytes, stream: int) -> None:
        """Queue a copy to the device."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(runtime.cudaMemcpyAsync, address, source.ctypes.data, source.nbytes, kind, stream)

    def copy_out(self, target: Bytes, address: int, stream: int) -> None:
        """Queue a copy from the device."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(runtime.cudaMemcpyAsync, target.ctypes.data, address, target.nbytes, kind, stream)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """Record work as an executable graph.

        Only this thread's unsafe calls spoil a capture: other engines may be at work.
        """
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call(runtime.cudaStreamBeginCapture, stream, mode)
        try:
            work()
        except BaseException:
            self._abandon(stream)
            raise
        try:
            graph = call(runtime.cudaStreamEndCapture, stream)
            try:
                return call(runtime.cudaGraphInstantiate, graph, 0)
            finally:
                call(runtime.cudaGraphDestroy, graph)
        except CudaError:
            runtime.cudaGetLastError()  # or the next call that checks would report it again
            raise

    def _abandon(self, stream: int) -> None:
        """Leave capture mode; that the capture failed is known already."""
        status, graph = runtime.cudaStreamEndCapture(stream)
        if int(status) == 0:
            call(runtime.cudaGraphDestroy, graph)
        runtime.cudaGetLastError()

    def launch(self, graph: Any, stream: int) -> None:
        """Queue it."""
        call(runtime.cudaGraphLaunch, graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """Remove it."""
        call(runtime.cudaGraphExecDestroy, graph)

    def close(self) -> None:
        """Nothing: the primary context belongs to the process, which may use it elsewhere."""
