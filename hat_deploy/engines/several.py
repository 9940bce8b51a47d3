"""Several engines of one artifact as one: a GPU each, or a share of the processor's cores each."""

from __future__ import annotations

import copy
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from hat_deploy.engines.averages import ExactEngine
from hat_deploy.engines.base import Array, Arrays, Engine, EngineBase, check_batch
from hat_deploy.engines.dealing import Compute, Deal, Ticket
from hat_deploy.engines.engine_thread import EngineThread
from hat_deploy.errors import ArtifactError

AHEAD = 4
"""Batches on their way for each engine: two that it may have in flight, one that waits for it, and
one whose result waits for its turn."""


class SeveralEngines(EngineBase):
    """An :class:`~hat_deploy.engines.base.Engine` made of several engines of one artifact.

    Each has a thread. Batches are dealt to whichever is free, and results come in the order of
    the batches. An engine that keeps several batches in flight does so here.

    Args:
        openers: each opens one engine, in the thread that runs and closes it; one after the other,
            so that what the first compiles or tests is there for the next.
        note: said of each in ``name``, such as ``1 thread``.

    Raises:
        HatDeployError: one cannot be opened; those before it are closed.
    """

    def __init__(self, openers: Sequence[Callable[[], Engine]], *, note: str = "") -> None:
        self._crew = _Crew()
        try:
            for open_ in openers:
                self._crew.threads.append(EngineThread(open_))
        except BaseException:
            self._crew.close()
            raise
        self._note = note
        self._take([thread.engine for thread in self._crew.threads])

    def _take(self, engines: list[Engine]) -> None:
        first = engines[0]
        self._engines = engines
        self._input, self._output, self._window = first.input, first.output, first.window
        self._on_gpu = first.on_gpu
        self.description: Any = getattr(first, "description", None)

    @property
    def engines(self) -> Sequence[Engine]:
        """What it is made of. Each belongs to its own thread: to be looked at, not to be run."""
        return tuple(self._engines)

    @property
    def name(self) -> str:
        """How many of what: ``2 x openvino 2026.3.0, cpu, fp32, 1 thread each``."""
        each = f", {self._note} each" if self._note else ""
        counts = Counter(engine.name for engine in self._engines)
        return " and ".join(f"{count} x {name}{each}" for name, count in counts.items())

    @property
    def averages(self) -> tuple[int, int] | None:
        """As of each engine; see :class:`~hat_deploy.engines.averages.ExactEngine`."""
        return getattr(self._engines[0], "averages", None)

    def run(self, batch: Array) -> Array:
        """Upscale one batch on an engine that is free; the result belongs to the caller."""
        with closing(self._dealt([(batch,)], _plain)) as results:
            return next(results)[0]

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        """Upscale batch after batch on all engines; a new stream ends an older one.

        Where an engine fails, the results before the batch that it failed at are given first.
        """
        for (result,) in self._dealt(((batch,) for batch in batches), _plain):
            yield result

    def stream_exact(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """As :meth:`stream`, with averages."""
        return self._dealt(batches, _with_averages)

    def at(self, size: tuple[int, int], *, many: bool = False) -> SeveralEngines | None:
        """The same engines, each for tiles of another size; None where they have one size only."""
        fitting = [_at(thread.engine, size, many=many) for thread in self._crew.threads]
        if None in fitting:
            return None
        other = copy.copy(self)
        other._take([engine for engine in fitting if engine is not None])
        return other

    def close(self) -> None:
        """End what is under way, close each engine in its thread and end the threads."""
        self._crew.close()

    def _dealt(
        self, batches: Iterable[Arrays], compute: Callable[[Engine], Compute]
    ) -> Generator[Arrays, None, None]:
        deal = self._crew.start([(engine, compute(engine)) for engine in self._engines])
        flying: deque[Ticket] = deque()
        most = AHEAD * len(self._engines)
        try:
            for batch in batches:
                check_batch(self._input, batch[0])
                flying.append(deal.add(batch))
                while flying and (flying[0].settled or len(flying) == most):
                    yield from self._next(deal, flying)
                if deal.failed:
                    break
            deal.close()
            while flying:
                yield from self._next(deal, flying)
        finally:
            self._crew.stop(deal)

    def _next(self, deal: Deal, flying: deque[Ticket]) -> Iterator[Arrays]:
        ticket = flying.popleft()
        results = deal.collect(ticket)
        self._peaks = ticket.peaks
        yield results
        deal.reuse(results)


class _Crew:
    """The threads of all engines, and the stream that they are at."""

    def __init__(self) -> None:
        self.threads: list[EngineThread] = []
        self._deal: Deal | None = None
        self._served: list[Future[None]] = []
        self._process = os.getpid()

    def start(self, served: Sequence[tuple[Engine, Compute]]) -> Deal:
        """Begin a stream, and end the one before."""
        if not self.threads:
            raise ArtifactError("these engines are closed")
        self.stop(self._deal)
        self._deal = deal = Deal(len(served))
        self._served = [
            thread.begin(partial(deal.serve, engine, compute))
            for thread, (engine, compute) in zip(self.threads, served, strict=True)
        ]
        return deal

    def stop(self, deal: Deal | None) -> None:
        """End a stream, if it has not ended, and wait until no engine is at work for it."""
        if deal is None or deal is not self._deal:
            return
        deal.abandon()
        if os.getpid() != self._process or sys.is_finalizing():
            return  # the threads are gone
        for future in self._served:
            future.result()
        self._deal, self._served = None, []

    def close(self) -> None:
        """End all threads, whatever one of them raises."""
        threads, self.threads = self.threads, []
        with ExitStack() as stack:
            for thread in threads:
                stack.callback(thread.close)
            self.stop(self._deal)


def count_of(engine: Engine) -> int:
    """How many engines compute side by side."""
    return len(engine.engines) if isinstance(engine, SeveralEngines) else 1


def one_of(engine: Engine) -> Engine:
    """The first of several engines, or the one that there is: to be looked at, not to be run."""
    return engine.engines[0] if isinstance(engine, SeveralEngines) else engine


def _at(engine: Engine, size: tuple[int, int], *, many: bool) -> Engine | None:
    if size == engine.input.size:
        return engine
    return engine.at(size, many=many) if isinstance(engine, EngineBase) else None


def _plain(engine: Engine) -> Compute:
    def compute(batches: Iterator[Arrays]) -> Iterator[Arrays]:
        return ((result,) for result in engine.stream(batch for (batch,) in batches))

    return compute


def _with_averages(engine: Engine) -> Compute:
    assert isinstance(engine, ExactEngine)
    return engine.stream_exact
