"""Room on the GPU for one batch: its buffers, its stream and its way to run a plan."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hat_deploy.engines.base import Array, Arrays, Ports, TensorSpec
from hat_deploy.engines.cuda.base import Bytes, Cuda, DeviceError

if TYPE_CHECKING:
    from hat_deploy.engines.tensorrt.library import Plan


def size_of(spec: TensorSpec) -> int:
    """Bytes of an input or output."""
    return int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Buffer:
    """Where one input or output lies: on the host, page-locked, and on the device."""

    spec: TensorSpec
    pinned: Bytes
    address: int

    @property
    def view(self) -> Array:
        """The host's memory in the shape and dtype that is declared."""
        return self.pinned.view(self.spec.dtype).reshape(self.spec.shape)


class PlanSlot:
    """A :class:`~hat_deploy.engines.inflight.Slot` that shares nothing with others but weights.

    A batch goes through page-locked memory, so that copies in, computing and copies out of
    several slots overlap. All three are recorded as one graph where that works.

    Args:
        plan: what to run.
        cuda: the device.
        ports: what goes in and what comes out.
        scratch: bytes that the plan computes in.

    Raises:
        DeviceError: there is not enough memory, or the plan does not run; nothing is left.
    """

    def __init__(self, plan: Plan, cuda: Cuda, ports: Ports, scratch: int) -> None:
        self._cuda = cuda
        self._graph: Any = None
        self._open = True
        with ExitStack() as stack:
            self._stream = cuda.create_stream()
            stack.callback(self._destroy_stream)
            self._inputs = [self._buffer(stack, spec) for spec in ports.inputs]
            self._outputs = [self._buffer(stack, spec) for spec in ports.outputs]
            self._context = plan.context(self._device(stack, scratch) if scratch else 0)
            stack.callback(self._context.close)
            for buffer in (*self._inputs, *self._outputs):
                self._context.bind(buffer.spec.name, buffer.address)
            stack.callback(self.drain)
            self._warm_up(stack)
            self._stack = stack.pop_all()

    @property
    def has_graph(self) -> bool:
        """Whether a batch is one launch."""
        return self._graph is not None

    def submit(self, batch: Arrays) -> None:
        """Start a batch; what it takes is copied before this returns."""
        for buffer, array in zip(self._inputs, batch, strict=True):
            np.copyto(buffer.view, array)
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)

    def collect(self) -> Arrays:
        """Wait for the batch; the results are what lies on the host until the next is started."""
        self._cuda.synchronize(self._stream)
        return tuple(buffer.view for buffer in self._outputs)

    def drain(self) -> None:
        """Wait, and leave it to the next call to report what went wrong.

        A stream of batches that outlives the engine gets here too, and finds nothing to wait for.
        """
        if self._open:
            with suppress(DeviceError):
                self._cuda.synchronize(self._stream)

    def close(self) -> None:
        """Wait, then free everything."""
        self._inputs, self._outputs = [], []
        self._stack.close()

    def _destroy_stream(self) -> None:
        self._open = False
        self._cuda.destroy_stream(self._stream)

    def _buffer(self, stack: ExitStack, spec: TensorSpec) -> Buffer:
        size = size_of(spec)
        pinned = self._cuda.allocate_pinned(size)
        stack.callback(self._cuda.free_pinned, pinned)
        return Buffer(spec, pinned, self._device(stack, size))

    def _device(self, stack: ExitStack, size: int) -> int:
        address = self._cuda.allocate(size)
        stack.callback(self._cuda.free, address)
        return address

    def _enqueue(self) -> None:
        for buffer in self._inputs:
            self._cuda.copy_in(buffer.address, buffer.pinned, self._stream)
        self._context.enqueue(self._stream)
        for buffer in self._outputs:
            self._cuda.copy_out(buffer.pinned, buffer.address, self._stream)

    def _warm_up(self, stack: ExitStack) -> None:
        """Run once, so that all memory is taken and all kernels loaded, then record a graph.

        TensorRT asks for a plain run before one that is recorded.
        """
        for buffer in self._inputs:
            buffer.pinned.fill(0)
        self._enqueue()
        self._cuda.synchronize(self._stream)
        if not self._context.capturable(self._stream):
            return
        try:
            self._graph = self._cuda.capture(self._stream, self._enqueue)
        except DeviceError:
            return  # not everything can be recorded; then each batch is queued call by call
        if self._graph is not None:
            stack.callback(self._cuda.destroy_graph, self._graph)
