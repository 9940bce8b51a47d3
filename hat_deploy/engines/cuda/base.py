"""The seam between an engine and a library that calls CUDA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from hat_deploy.errors import ArtifactError

OUT_OF_MEMORY = 2
"""``cudaErrorMemoryAllocation``; the driver's ``CUDA_ERROR_OUT_OF_MEMORY`` is the same number."""

Bytes = npt.NDArray[Any]
"""One dimension of uint8."""


class DeviceError(ArtifactError):
    """Something on the GPU failed."""

    out_of_memory = False
    """Whether memory of the GPU, or page-locked memory of the host, is used up."""


class CudaError(DeviceError):
    """A CUDA call that did not return success."""

    def __init__(self, call: str, code: int, name: str, meaning: str = "") -> None:
        reason = f": {meaning}" if meaning else ""
        super().__init__(f"the CUDA call {call} failed with {name} ({code}){reason}")
        self.call = call
        self.code = code
        self.out_of_memory = code == OUT_OF_MEMORY


@dataclass(frozen=True)
class GPU:
    """The device in use."""

    name: str
    """As the driver calls it: ``NVIDIA L4``."""
    sm: str
    """Its compute capability: ``sm89``."""


class Cuda(Protocol):
    """One device. Addresses and streams are integers; sizes are bytes.

    All calls may raise :class:`CudaError`. What is made here is destroyed by its maker, before
    :meth:`close`.
    """

    @property
    def name(self) -> str:
        """The library and its version."""

    @property
    def gpu(self) -> GPU:
        """The device."""

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""

    def allocate(self, size: int) -> int:
        """Device memory, aligned to 256 bytes."""

    def free(self, address: int) -> None:
        """Give device memory back."""

    def allocate_pinned(self, size: int) -> Bytes:
        """Page-locked memory of the host, which copies need to run beside other work."""

    def free_pinned(self, memory: Bytes) -> None:
        """Give what :meth:`allocate_pinned` returned back; no view of it may be used again."""

    def create_stream(self) -> int:
        """A queue of work that waits for no other."""

    def destroy_stream(self, stream: int) -> None:
        """Remove a queue."""

    def synchronize(self, stream: int) -> None:
        """Wait until all work of a queue is done; reports what went wrong in it."""

    def copy_in(self, address: int, source: Bytes, stream: int) -> None:
        """Queue a copy from page-locked memory to the device."""

    def copy_out(self, target: Bytes, address: int, stream: int) -> None:
        """Queue a copy from the device to page-locked memory."""

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """Record what ``work`` queues on the stream, instead of running it.

        Returns:
            A graph for :meth:`launch`; or None where the library has no graphs, and then
            ``work`` was not called.

        Raises:
            CudaError: it cannot be recorded; the stream can be used as before.
        """

    def launch(self, graph: Any, stream: int) -> None:
        """Queue all that a graph holds."""

    def destroy_graph(self, graph: Any) -> None:
        """Remove a graph."""

    def close(self) -> None:
        """Leave the device to others."""
