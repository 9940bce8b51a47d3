"""Run a ``.plan`` with TensorRT or TensorRT for RTX, several batches in flight. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from hat_deploy.artifact import Artifact
from hat_deploy.engines import cuda
from hat_deploy.engines.averages import PortsEngine
from hat_deploy.engines.base import Array, Arrays, check_declared
from hat_deploy.engines.cuda.base import Cuda, DeviceError
from hat_deploy.engines.inflight import Need, keep_in_flight, slots_that_fit
from hat_deploy.engines.tensorrt import fit
from hat_deploy.engines.tensorrt import library as tensorrt_library
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.engines.tensorrt.library import Library, Plan
from hat_deploy.engines.tensorrt.slot import PlanSlot, size_of

IN_FLIGHT = 2
"""Batches under way at once: one is copied and cut by the host while the other computes."""


class TensorRTEngine(PortsEngine):
    """An :class:`~hat_deploy.engines.base.Engine` on TensorRT, of either flavour.

    What it needs of the GPU's memory is known before it is allocated: for each batch in
    flight input, output and scratch. Where that does not fit, fewer batches are in flight.

    Args:
        named: a plan made by ``hat-deploy export``.
        in_flight: batches under way at once, at least 1.
        library, device: what to run on; by default what the plan was built for, and the GPU
            of that number.
        gpu: its number among those that are visible. It becomes the current one of this thread,
            which alone may use the engine and close it.

    Raises:
        ArtifactError: the file is damaged or foreign, was built for another TensorRT or
            another GPU, or the GPU has not enough memory for one batch.
        MissingExtraError: TensorRT, or a library that calls CUDA, is not installed.
        UsageError: there is no GPU.
    """

    _on_gpu = True

    def __init__(
        self,
        named: Path | Artifact,
        *,
        in_flight: int = IN_FLIGHT,
        library: Library | None = None,
        device: Cuda | None = None,
        gpu: int = 0,
    ) -> None:
        artifact = Artifact.of(named)
        path = artifact.path
        self.description = artifact.description
        self._path = path
        self._library = self._fitting_library(library)
        flavour = self._library.flavour
        with ExitStack() as stack:
            self._device = device or cuda.open_device(
                extra=flavour.extra, purpose=f"Running {path}", number=gpu
            )
            stack.callback(self._device.close)
            fit.require_gpu(path, self.description, flavour, self._device.gpu)
            self._plan = self._load()
            stack.callback(self._plan.close)
            self._window = self.description.window
            self._ports = check_declared(
                path, self.description, self._plan.declared("INPUT"), self._plan.declared("OUTPUT")
            )
            self._slots = self._slots_with_kernels(stack, in_flight, artifact)
            self._stack = stack.pop_all()

    @property
    def name(self) -> str:
        """Library, version, device, precision, and how it runs."""
        return (
            f"{self._library.title}, {self._device.gpu.name}, {self.description.precision}, "
            f"{len(self._slots)} in flight{', CUDA graphs' if self._slots[0].has_graph else ''}"
        )

    @property
    def need(self) -> Need:
        """GPU memory of one batch in flight."""
        return Need(
            input=sum(map(size_of, self._ports.inputs)),
            output=sum(map(size_of, self._ports.outputs)),
            scratch=self._plan.scratch,
        )

    def run(self, batch: Array) -> Array:
        """Upscale one batch; the result is a copy."""
        result = super().run(batch).copy()
        if self._peaks is not None:
            self._peaks = self._peaks.copy()
        return result

    def _stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Several batches in flight; a new stream ends an older one."""
        for slot in self._slots:
            slot.drain()  # a stream that was left in the middle may have work under way
        yield from keep_in_flight(self._slots, batches)

    def close(self) -> None:
        """Let go of what was loaded."""
        self._slots = []
        self._stack.close()

    def _fitting_library(self, given: Library | None) -> Library:
        path, described = self._path, self.description
        installed = [given.flavour] if given else tensorrt_library.installed()
        fit.require_flavour(path, described, installed)
        flavour = fit.flavour_of(path, described)
        library = given or tensorrt_library.load(flavour)
        fit.require_version(path, described, flavour, library.version)
        return library

    def _load(self) -> Plan:
        """The plan with its weights on the GPU."""
        memory = self._device.memory()
        if self._path.stat().st_size > memory[0]:
            raise self._no_memory(None, memory)
        try:
            return self._library.open(self._path)
        except DeviceError as error:
            if error.out_of_memory:
                raise self._no_memory(None, memory) from error
            raise

    def _slots_with_kernels(
        self, stack: ExitStack, wanted: int, artifact: Artifact
    ) -> list[PlanSlot]:
        """Slots; for RTX what it compiles for them is kept, or taken from an earlier time."""
        if self._library.flavour is not Flavour.RTX:
            return self._allocate(stack, wanted)
        from hat_deploy.engines.tensorrt.kernels import KeptKernels

        kept = KeptKernels(artifact, self._library.title, self._device.gpu)
        known = kept.hand_to(self._plan)
        slots = self._allocate(stack, wanted)
        if not known:
            kept.keep(self._plan)
        return slots

    def _allocate(self, stack: ExitStack, wanted: int) -> list[PlanSlot]:
        """As many slots as are wanted and fit, at least one."""
        memory = self._device.memory()
        slots: list[PlanSlot] = []
        refused: DeviceError | None = None
        for _ in range(slots_that_fit(self.need, memory[0], wanted)):
            try:
                slot = PlanSlot(self._plan, self._device, self._ports, self._plan.scratch)
            except DeviceError as error:
                if not error.out_of_memory:
                    raise
                refused = error
                break
            stack.callback(slot.close)
            slots.append(slot)
        if not slots:
            raise self._no_memory(self.need, memory) from refused
        return slots

    def _no_memory(self, need: Need | None, memory: tuple[int, int]) -> Exception:
        gpu = self._device.gpu
        return fit.no_memory(self._path, self.description, need, gpu, memory)
