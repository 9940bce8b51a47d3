"""One stream of batches, dealt to several engines: whichever is free takes the next.

The caller's thread adds batches and waits for each in its turn; the thread of each engine serves.
Only the caller's thread asks for batches: what makes them knows nothing of threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hat_deploy.engines.base import Array, Arrays, Engine
from hat_deploy.errors import ArtifactError, UsageError

Compute = Callable[[Iterator[Arrays]], Iterable[Arrays]]
"""What an engine makes of batches, in order; see :meth:`hat_deploy.engines.base.Engine.stream`."""


class Ticket:
    """One batch on its way, and what becomes of it."""

    def __init__(self, batch: Arrays) -> None:
        self.batch = batch
        """Copies: the caller may have reused its own."""
        self.results: Arrays = ()
        self.peaks: Array | None = None
        self.error: BaseException | None = None
        self.settled = False
        """Whether there is a result or an error."""

    def fail(self, error: BaseException) -> None:
        """Settle it without a result."""
        self.error, self.settled = error, True


class Deal:
    """Batches that wait for an engine, and results that wait for their turn.

    Args:
        engines: how many will serve.
    """

    def __init__(self, engines: int) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._idle = engines
        self._closed = False
        self._abandoned = False
        self._error: BaseException | None = None
        self._spare: list[Arrays] = []

    @property
    def failed(self) -> bool:
        """Whether an engine has failed: nothing more is computed."""
        return self._error is not None

    def add(self, batch: Arrays) -> Ticket:
        """Have a batch computed; its arrays may then be reused."""
        ticket = Ticket(tuple(np.array(array) for array in batch))
        with self._changed:
            if self._error is not None:
                ticket.fail(self._error)
            else:
                self._waiting.append(ticket)
                self._changed.notify_all()
        return ticket

    def close(self) -> None:
        """No further batch will be added; what waits is computed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Compute nothing more than what engines have taken."""
        with self._changed:
            self._abandoned = True
            self._stop()

    def collect(self, ticket: Ticket) -> Arrays:
        """Wait for a batch; what it gives stands until it is given to :meth:`reuse`.

        Raises:
            UsageError: another stream took the engines.
            BaseException: what its engine raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: ticket.settled or self._abandoned)
        if ticket.error is not None:
            raise ticket.error
        if not ticket.settled:
            raise UsageError(
                "these engines were given another stream of batches, which ended this one"
            )
        return ticket.results

    def reuse(self, results: Arrays) -> None:
        """Let later results lie there."""
        self._spare.append(results)

    def serve(self, engine: Engine, compute: Compute) -> None:
        """Compute batches until none will come; in a thread that the engine belongs to.

        A stream of the engine lasts for as long as batches wait. It ends when there are none, so
        that an engine with several in flight gives all that it holds.
        """
        while (ticket := self._first()) is not None:
            taken = deque([ticket])
            try:
                for results in compute(self._feed(taken)):
                    self._settle(taken.popleft(), results, engine.peaks)
                if taken:
                    raise ArtifactError("an engine gave fewer results than it was given batches")
            except BaseException as error:  # it is raised in the caller's thread, in its turn
                self._fail(taken, error)
            with self._changed:
                self._idle += 1

    def _first(self) -> Ticket | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            self._idle -= 1
            return self._waiting.popleft()

    def _feed(self, taken: deque[Ticket]) -> Iterator[Arrays]:
        """The batch that was taken, and more as long as enough wait for idle engines too."""
        ticket: Ticket | None = taken[0]
        while ticket is not None:
            yield ticket.batch
            with self._changed:
                ticket = self._waiting.popleft() if len(self._waiting) > self._idle else None
            if ticket is not None:
                taken.append(ticket)

    def _settle(self, ticket: Ticket, results: Arrays, peaks: Array | None) -> None:
        """Keep what may lie where the engine writes its next result."""
        try:
            ticket.results = self._spare.pop()
        except IndexError:
            ticket.results = tuple(map(np.empty_like, results))
        for kept, result in zip(ticket.results, results, strict=True):
            np.copyto(kept, result)
        ticket.peaks = None if peaks is None else np.array(peaks)
        with self._changed:
            ticket.settled = True
            self._changed.notify_all()

    def _fail(self, taken: Iterable[Ticket], error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            for ticket in (*taken, *self._waiting):
                ticket.fail(error)
            self._stop()

    def _stop(self) -> None:
        self._waiting.clear()
        self._closed = True
        self._changed.notify_all()
