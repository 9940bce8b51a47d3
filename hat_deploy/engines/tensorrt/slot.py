"""Room on the GPU for one batch: its buffers, its stream and its way to run a plan."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from hat_deploy.engines.base import Array, TensorSpec
from hat_deploy.engines.cuda.base import Bytes, Cuda, DeviceError
from hat_deploy.engines.inflight import Need

if TYPE_CHECKING:
    from hat_deploy.engines.tensorrt.library import Plan


def size_of(spec: TensorSpec) -> int:
    """Bytes of an input or output."""
    return int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize


class PlanSlot:
    """A :class:`~hat_deploy.engines.inflight.Slot` that shares nothing with others but weights.

    A batch goes through page-locked memory, so that copies in, computing and copies out of
    several slots overlap. All three are recorded as one graph where that works.

    Args:
        plan: what to run.
        cuda: the device.
        specs: what goes in and what comes out.
        need: bytes of each buffer.

    Raises:
        DeviceError: there is not enough memory, or the plan does not run; nothing is left.
    """

    def __init__(
        self, plan: Plan, cuda: Cuda, specs: tuple[TensorSpec, TensorSpec], need: Need
    ) -> None:
        self._cuda = cuda
        self._graph: Any = None
        self._open = True
        with ExitStack() as stack:
            self._stream = cuda.create_stream()
            stack.callback(self._destroy_stream)
            self._pinned_in = self._pinned(stack, need.input)
            self._pinned_out = self._pinned(stack, need.output)
            self._device_in = self._device(stack, need.input)
            self._device_out = self._device(stack, need.output)
            scratch = self._device(stack, need.scratch) if need.scratch else 0
            self._context = plan.context(scratch)
            stack.callback(self._context.close)
            for spec, address in zip(specs, (self._device_in, self._device_out), strict=True):
                self._context.bind(spec.name, address)
            stack.callback(self.drain)
            self._warm_up(stack)
            self._stack = stack.pop_all()
        self._input, self._output = (
            memory.view(spec.dtype).reshape(spec.shape)
            for memory, spec in zip((self._pinned_in, self._pinned_out), specs, strict=True)
        )

    @property
    def has_graph(self) -> bool:
        """Whether a batch is one launch."""
        return self._graph is not None

    def submit(self, batch: Array) -> None:
        """Start a batch; what it takes is copied before this returns."""
        np.copyto(self._input, batch)
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)

    def collect(self) -> Array:
        """Wait for the batch; the result is a copy."""
        self._cuda.synchronize(self._stream)
        result: Array = self._output.copy()
        return result

    def drain(self) -> None:
        """Wait, and leave it to the next call to report what went wrong.

        A stream of batches that outlives the engine gets here too, and finds nothing to wait for.
        """
        if self._open:
            with suppress(DeviceError):
                self._cuda.synchronize(self._stream)

    def close(self) -> None:
        """Wait, then free everything."""
        del self._input, self._output
        self._stack.close()

    def _destroy_stream(self) -> None:
        self._open = False
        self._cuda.destroy_stream(self._stream)

    def _pinned(self, stack: ExitStack, size: int) -> Bytes:
        memory = self._cuda.allocate_pinned(size)
        stack.callback(self._cuda.free_pinned, memory)
        return memory

    def _device(self, stack: ExitStack, size: int) -> int:
        address = self._cuda.allocate(size)
        stack.callback(self._cuda.free, address)
        return address

    def _enqueue(self) -> None:
        self._cuda.copy_in(self._device_in, self._pinned_in, self._stream)
        self._context.enqueue(self._stream)
        self._cuda.copy_out(self._pinned_out, self._device_out, self._stream)

    def _warm_up(self, stack: ExitStack) -> None:
        """Run once, so that all memory is taken and all kernels loaded, then record a graph.

        TensorRT asks for a plain run before one that is recorded.
        """
        self._pinned_in.fill(0)
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
