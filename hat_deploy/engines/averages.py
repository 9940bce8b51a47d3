"""Engines that may take averages over the whole image besides a tile, and give a tile's own.

A network with channel attention averages over all it sees. An exact artifact lets the caller say
what the average is, tile by tile, so that tiles can be made equal to the whole image; see
:mod:`hat_deploy.tiles.averages`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from hat_deploy.engines.base import (
    Array,
    Arrays,
    Engine,
    EngineBase,
    Ports,
    TensorSpec,
    check_batch,
)


@runtime_checkable
class ExactEngine(Engine, Protocol):
    """An engine that takes averages, where ``averages`` is not None."""

    @property
    def averages(self) -> tuple[int, int] | None:
        """How many averages it takes and gives, and of how many channels each."""

    def stream_exact(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """As :meth:`Engine.stream`, with averages.

        Args:
            batches: each a batch of tiles, and besides, all float32:
                the averages to take, (B, averages, channels, 1);
                1 for each tile that is to take them, 0 for one that takes its own, (B, 1, 1, 1);
                1 for each row and each column that counts for its own, else 0,
                (B, 1, H, 1) and (B, 1, 1, W).

        Returns:
            Results, each with the tiles' own averages, (B, averages, channels, 1).
        """


def exact(engine: Engine) -> ExactEngine | None:
    """The engine, if it takes averages."""
    takes = isinstance(engine, ExactEngine) and engine.averages is not None
    return engine if isinstance(engine, ExactEngine) and takes else None


class PortsEngine(EngineBase):
    """An engine whose call takes and gives as many arrays as its ports say.

    A subclass sets ``_ports`` and ``_window``, and writes ``name`` and ``_stream``.
    """

    _ports: Ports

    @property
    def input(self) -> TensorSpec:
        """What ``run`` takes, as the library reports it."""
        return self._ports.inputs[0]

    @property
    def output(self) -> TensorSpec:
        """What ``run`` returns, as the library reports it."""
        return self._ports.outputs[0]

    @property
    def averages(self) -> tuple[int, int] | None:
        """How many averages it takes and gives, and of how many channels each."""
        return self._ports.averages

    def run(self, batch: Array) -> Array:
        """Upscale one batch; see :class:`~hat_deploy.engines.base.Engine`."""
        return next(self.stream([batch]))

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        """Upscale batch after batch; each tile takes averages of its own."""
        besides = own_averages(self._ports)
        for result, *_ in self.stream_exact((batch, *besides) for batch in batches):
            yield result

    def stream_exact(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Upscale batch after batch; see :class:`ExactEngine`."""
        for results in self._stream(map(self._checked, batches)):
            if self._ports.has_peaks:
                self._peaks = results[-1]
                results = results[:-1]
            yield results

    @abstractmethod
    def _stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Run checked batches, in order."""

    def _checked(self, arrays: Arrays) -> Arrays:
        for spec, array in zip(self._ports.inputs, arrays, strict=True):
            check_batch(spec, array)
        return arrays


def own_averages(ports: Ports) -> Arrays:
    """What makes each tile take averages of its own, over all of it; empty without averages."""
    none_known = (0.0, 0.0, 1.0, 1.0)  # averages, known, rows, columns
    given = zip(ports.inputs[1:], none_known, strict=False)
    return tuple(np.full(spec.shape, value, np.float32) for spec, value in given)
