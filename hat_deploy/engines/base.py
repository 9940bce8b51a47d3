"""What every engine is to the rest of the program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hat_deploy.artifact import PEAK, Description
from hat_deploy.errors import ArtifactError

if TYPE_CHECKING:
    from typing import Self

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output as the engine itself reports it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """A numpy name: ``float32``, ``float16`` or ``uint8``."""
    layout: str
    """``NCHW``, RGB in [0, 1]; ``NHWC``, RGB bytes; ``averages`` or ``peaks``, no images."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.shape[2:] if self.layout == "NCHW" else self.shape[1:3]
        return height, width

    @property
    def channels(self) -> int:
        """Channels."""
        return self.shape[1] if self.layout == "NCHW" else self.shape[3]

    @property
    def batch(self) -> int:
        """Tiles in one call."""
        return self.shape[0]


@runtime_checkable
class Engine(Protocol):
    """Runs batches of tiles. A context manager with one verb, for one batch or for many.

    A batch is an array of exactly ``input``'s shape and dtype, C-contiguous; its result has
    ``output``'s shape and dtype. Float outputs are not clamped. An engine is used by one thread
    at a time.
    """

    @property
    def name(self) -> str:
        """What runs, where and how, for people: ``onnxruntime 1.31.1, CPU, fp32``."""

    @property
    def input(self) -> TensorSpec:
        """What ``run`` takes."""

    @property
    def output(self) -> TensorSpec:
        """What ``run`` returns."""

    @property
    def window(self) -> int:
        """Tiles must start at multiples of it."""

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU and leaves the processor's cores to others."""

    @property
    def peaks(self) -> Array | None:
        """Of the result given last, where it is bytes: (B,) float32, the largest magnitude of each
        tile before it was rounded, not finite where a value was not. None where results are
        floats, which show that themselves, and for artifacts that do not tell."""

    def run(self, batch: Array) -> Array:
        """Upscale one batch; the result belongs to the caller.

        Raises:
            ValueError: the array is not what ``input`` declares.
            ArtifactError: the engine failed.
        """

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        """Upscale batch after batch: the results, in the order of the batches.

        An engine that keeps several batches in flight takes that many from ``batches`` before
        it gives its first result; one that computes a batch at a time is ``map(self.run, ...)``.
        A batch may be reused by the caller as soon as the next one is asked for. A result is the
        caller's until it asks for the next one, or closes the engine: it may lie where the next
        one is written.

        Raises:
            ValueError, ArtifactError: as :meth:`run`; batches in flight are lost.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


Arrays = tuple[Array, ...]
"""Everything that goes into one call, or comes out of it; images first."""


@dataclass(frozen=True)
class Ports:
    """All that goes in and comes out: images first, then averages, if it takes any, then peaks, if
    it tells them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def averages(self) -> tuple[int, int] | None:
        """How many averages, and of how many channels each; None where there are none."""
        if len(self.inputs) == 1:
            return None
        _, count, channels, _ = self.inputs[1].shape
        return count, channels

    def at(self, size: tuple[int, int]) -> Ports:
        """The same for images of another height and width."""
        first, result = self.inputs[0], self.outputs[0]
        scale = result.size[0] // first.size[0]
        return Ports(
            (_resized(first, size), *self.inputs[1:]),
            (_resized(result, (scale * size[0], scale * size[1])), *self.outputs[1:]),
        )

    @property
    def has_peaks(self) -> bool:
        """Whether the last output is :attr:`Engine.peaks`."""
        return self.outputs[-1].name == PEAK


def _resized(spec: TensorSpec, size: tuple[int, int]) -> TensorSpec:
    """An image with another height and width."""
    batch, channels = spec.batch, spec.channels
    nchw = spec.layout == "NCHW"
    return replace(spec, shape=(batch, channels, *size) if nchw else (batch, *size, channels))


class EngineBase(ABC):
    """What engines share: their declarations, one batch at a time, and an end.

    A subclass sets ``_input``, ``_output`` and ``_window``, and writes ``name`` and ``run``. One
    whose results may be bytes also sets ``_peaks`` before it gives a result, and one on a GPU
    ``_on_gpu``.
    """

    _input: TensorSpec
    _output: TensorSpec
    _window: int
    _peaks: Array | None = None
    _on_gpu = False

    @property
    def input(self) -> TensorSpec:
        """What ``run`` takes, as the library reports it."""
        return self._input

    @property
    def output(self) -> TensorSpec:
        """What ``run`` returns, as the library reports it."""
        return self._output

    @property
    def window(self) -> int:
        """The network's attention window."""
        return self._window

    @property
    def on_gpu(self) -> bool:
        """Whether it leaves the processor's cores to others."""
        return self._on_gpu

    @property
    def peaks(self) -> Array | None:
        """Of the result given last; see :class:`Engine`."""
        return self._peaks

    @abstractmethod
    def run(self, batch: Array) -> Array:
        """Upscale one batch; see :class:`Engine`."""

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        """Upscale batch after batch, one at a time."""
        return map(self.run, batches)

    def at(self, size: tuple[int, int], *, many: bool = False) -> Engine | None:
        """The same for tiles of another size; None where it has one size only.

        It shares what was loaded, ends with this engine and is not closed by itself.

        Args:
            size: height and width, multiples of the window.
            many: whether so many pixels of tiles of that size will come that it pays to prepare
                for them.
        """
        return None

    def close(self) -> None:  # noqa: B027 - not every engine has something to let go of
        """Let go of what was loaded."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Declared:
    """One input or output in a library's own words, unchecked."""

    name: str
    shape: Sequence[object]
    """An int for each dimension that is fixed."""
    dtype: str
    """A numpy name where the library's type has one."""


MANY = 2**19
"""Pixels of tiles of one size from which it pays to prepare for it: OpenVINO compiles a model in
the time in which it computes a twentieth to a tenth of that."""


def pays(size: tuple[int, int], tiles: int) -> bool:
    """Whether an engine is to prepare for tiles of a size, when so many are to come."""
    return tiles * size[0] * size[1] >= MANY


def sized(engine: Engine, size: tuple[int, int], *, tiles: int = 1) -> Engine:
    """The engine for tiles of this size; the engine itself where it has one size only.

    Args:
        tiles: how many of them are to come.
    """
    if size == engine.input.size or not isinstance(engine, EngineBase):
        return engine
    return engine.at(size, many=pays(size, tiles)) or engine


def check_declared(
    path: Path, described: Description, inputs: Sequence[Declared], outputs: Sequence[Declared]
) -> Ports:
    """What goes in and what comes out, once it is what the artifact's description says.

    The description decides where pixels go, so a graph that disagrees with it would give wrong
    images and no error.

    Args:
        path: of the artifact, for the message.
        described: what it says about itself.
        inputs, outputs: what it has, as the library that runs it reports.

    Raises:
        ArtifactError: there are more or fewer than it says, or a shape or type is another.
    """
    changed = "its description says so, and it is not as 'export' made it: export it again"
    ports = ports_of(described)
    for kind, found, wanted in (
        ("input", inputs, ports.inputs),
        ("output", outputs, ports.outputs),
    ):
        if len(found) != len(wanted):
            was = "was" if len(wanted) == 1 else "were"
            raise ArtifactError(
                f"{path} has {len(found)} {kind}s, and {len(wanted)} {was} expected: it is not as "
                "'export' made it; export it again"
            )
    found_all = (*_in_order(inputs, ports.inputs), *_in_order(outputs, ports.outputs))
    specs = [
        replace(spec, name=declared.name)
        for declared, spec in zip(found_all, (*ports.inputs, *ports.outputs), strict=True)
    ]
    for declared, spec in zip(found_all, specs, strict=True):
        if not _fits(declared, spec, described) or declared.dtype != spec.dtype:
            raise ArtifactError(
                f"in {path}, {declared.name!r} is {declared.dtype} {[*declared.shape]}; "
                f"{spec.dtype} {[*spec.shape]} was expected: {changed}"
            )
    return Ports(tuple(specs[: len(inputs)]), tuple(specs[len(inputs) :]))


def _in_order(found: Sequence[Declared], wanted: Sequence[TensorSpec]) -> list[Declared]:
    """Images first, whatever their name; what is no image behind them, by its name."""
    places = {spec.name: number for number, spec in enumerate(wanted) if number}
    return sorted(found, key=lambda declared: places.get(declared.name, 0))


def _fits(declared: Declared, spec: TensorSpec, described: Description) -> bool:
    """Whether a shape is the spec's; of any size, an image's height and width may be open."""
    image = spec.layout in ("NCHW", "NHWC")
    if not (described.any_size and image) or len(declared.shape) != len(spec.shape):
        return (*declared.shape,) == spec.shape
    sides = (2, 3) if spec.layout == "NCHW" else (1, 2)
    return all(
        found == wanted or (axis in sides and not isinstance(found, int))
        for axis, (found, wanted) in enumerate(zip(declared.shape, spec.shape, strict=True))
    )


def ports_of(described: Description) -> Ports:
    """What a description says goes in and comes out."""
    batch, channels, scale = described.batch, described.channels, described.scale
    height, width = described.tile

    def image(name: str, height: int, width: int) -> TensorSpec:
        if described.io == "uint8":
            return TensorSpec(name, (batch, height, width, channels), "uint8", "NHWC")
        return TensorSpec(name, (batch, channels, height, width), "float32", "NCHW")

    inputs, outputs = (
        [image("input", height, width)],
        [image("output", scale * height, scale * width)],
    )
    if described.averages is not None:
        shapes = averages_shapes(described.averages, batch, described.tile)
        given, own = (
            [TensorSpec(name, shapes[name], "float32", "averages") for name in names]
            for names in (AVERAGES_IN, AVERAGES_OUT)
        )
        inputs, outputs = inputs + given, outputs + own
    if PEAK in described.outputs[1:]:
        outputs.append(TensorSpec(PEAK, (batch,), "float32", "peaks"))
    return Ports(tuple(inputs), tuple(outputs))


AVERAGES_IN = ("averages", "known", "rows", "columns")
AVERAGES_OUT = ("own_averages",)
"""Names of what an exact artifact takes and gives besides images, in this order."""


def averages_shapes(
    averages: tuple[int, int], batch: int, tile: tuple[int, int]
) -> dict[str, tuple[int, int, int, int]]:
    """The shapes of :data:`AVERAGES_IN` and :data:`AVERAGES_OUT` by name."""
    return {
        "averages": (batch, *averages, 1),
        "known": (batch, 1, 1, 1),
        "rows": (batch, 1, tile[0], 1),
        "columns": (batch, 1, 1, tile[1]),
        "own_averages": (batch, *averages, 1),
    }


def scale_of(engine: Engine) -> int:
    """The upscaling factor, from the engine's own shapes.

    Raises:
        ArtifactError: what comes out is not what goes in, enlarged by one whole factor.
    """
    given, result = engine.input, engine.output
    scale = result.size[0] // given.size[0]
    enlarged = (scale * given.size[0], scale * given.size[1])
    same = (result.batch, result.channels) == (given.batch, given.channels)
    if scale < 1 or result.size != enlarged or not same:
        raise ArtifactError(
            f"the engine turns {[*given.shape]} into {[*result.shape]}; as many channels were "
            "expected, and height and width times one whole number"
        )
    return scale


def check_batch(spec: TensorSpec, batch: Array) -> None:
    """Refuse an array that is not what an engine declared.

    Raises:
        ValueError: wrong shape, dtype or memory order.
    """
    if batch.shape != spec.shape or batch.dtype != np.dtype(spec.dtype):
        raise ValueError(
            f"engine input '{spec.name}' is {spec.dtype} {spec.shape}, "
            f"but got {batch.dtype} {batch.shape}"
        )
    if not batch.flags.c_contiguous:
        raise ValueError(f"engine input '{spec.name}' must be C-contiguous")


def check_result(spec: TensorSpec, result: Array) -> None:
    """Refuse what an engine computed if it is not what it declared: a graph can lie.

    Raises:
        ArtifactError: another shape or dtype.
    """
    if result.shape != spec.shape or result.dtype != np.dtype(spec.dtype):
        raise ArtifactError(
            f"the engine computed {result.dtype} {[*result.shape]} where {spec.name!r} is "
            f"declared as {spec.dtype} {[*spec.shape]}: the artifact is not as 'export' made it; "
            "export it again"
        )
