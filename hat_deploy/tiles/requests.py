"""Arrays on their way to the size that was asked for, pass by pass, tiles of several in a batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hat_deploy.engines.base import Array
from hat_deploy.errors import UsageError
from hat_deploy.images import shrink
from hat_deploy.tiles.enlargement import Enlargement
from hat_deploy.tiles.gate import Gate
from hat_deploy.tiles.streaming import stream
from hat_deploy.tiles.target_size import Steps


@dataclass(eq=False)
class Request:
    """One array that somebody wants enlarged."""

    pixels: Array
    """What the next pass takes, or what the last one gave."""
    steps: Steps
    linear_light: bool = False
    whole: bool = False
    passes: int = 0
    """How many have begun."""
    answer: Future[Array] = field(default_factory=Future)
    """The result; who has lost interest cancels it."""

    @classmethod
    def refused(cls, error: Exception) -> Request:
        """One whose answer is an error."""
        request = cls(np.empty(0), Steps(((0, 0),), (0, 0)))
        request.answer.set_exception(error)
        return request

    def finish(self) -> None:
        """Answer with what the passes gave, shrunk where it is too large."""
        result = self.pixels
        if result.shape[:2] != self.steps.final:
            result = np.empty((*self.steps.final, *result.shape[2:]), result.dtype)
            shrink(self.pixels, result, linear=self.linear_light)
        elif not self.steps.passes:
            result = result.copy()  # the caller's own
        with suppress(InvalidStateError):  # it was cancelled
            self.answer.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        with suppress(InvalidStateError):
            self.answer.set_exception(error)


class Enlarge(Protocol):
    """What prepares a pass of the network."""

    def __call__(self, pixels: Array, *, whole: bool) -> Enlargement:
        """The array, ready for the stream of tiles."""


class RequestFeed:
    """A :class:`~hat_deploy.tiles.streaming.Feed` of requests.

    Args:
        requests: gives None where there is none now but may be later.
        enlarge: prepares a pass.
        on_note: told what is to be known of how a result was computed.
    """

    def __init__(
        self,
        requests: Iterator[Request | None],
        enlarge: Enlarge,
        on_note: Callable[[str], object],
    ) -> None:
        self._requests = requests
        self._enlarge = enlarge
        self._on_note = on_note
        self._computing: dict[Enlargement, Request] = {}
        self._again: deque[Request] = deque()
        self._all_came = False

    @property
    def ended(self) -> bool:
        """Whether no request will come any more, and none has another pass to begin."""
        return self._all_came and not self._again

    @property
    def idle(self) -> bool:
        """Whether nothing that came is unanswered."""
        return not self._computing and not self._again

    def take(self) -> Enlargement | None:
        """The next pass of a request."""
        while (request := self._next()) is not None:
            try:
                if request.answer.done():  # cancelled, or refused from the start
                    continue
                if request.passes == request.steps.passes:
                    request.finish()
                    continue
                work = self._enlarge(request.pixels, whole=request.whole)
            except Exception as error:
                request.fail(error)
                continue
            request.passes += 1
            self._computing[work] = request
            return work
        return None

    def settle(self) -> None:
        """After each batch: what is finished is answered or begins its next pass."""
        for work, request in list(self._computing.items()):
            if request.answer.cancelled():
                work.abandon()
            if not work.finished:
                continue
            del self._computing[work]
            if work.error is not None:
                request.fail(work.error)
                continue
            for note in work.notes:
                self._on_note(note)
            request.pixels = work.result
            self._again.append(request)

    def fail(self, error: BaseException) -> None:
        """Answer all that came with an error."""
        for request in (*self._computing.values(), *self._again):
            request.fail(error)

    def _next(self) -> Request | None:
        if self._again:
            return self._again.popleft()
        if self._all_came:
            return None
        try:
            return next(self._requests)
        except StopIteration:
            self._all_came = True
            return None


class Background:
    """Requests from anywhere, computed in a thread that lives while there are any.

    Args:
        gate: held meanwhile.
        feed_of: makes the feed of requests.
    """

    def __init__(
        self, gate: Gate, feed_of: Callable[[Iterator[Request | None]], RequestFeed]
    ) -> None:
        self._gate = gate
        self._feed_of = feed_of
        self._lock = threading.Lock()
        self._waiting: deque[Request] = deque()
        self._working = False

    def add(self, request: Request) -> None:
        """Have it answered.

        Raises:
            UsageError: the gate lets nobody in.
        """
        self._gate.check()
        with self._lock:
            self._waiting.append(request)
            if not self._working:
                threading.Thread(target=self._work, name="hat-deploy requests").start()
                self._working = True

    def _work(self) -> None:
        feed = self._feed_of(self._arriving())
        try:
            with self._gate.alone(), closing(stream(feed)) as batches:
                for _ in batches:
                    feed.settle()
                    if feed.idle and self._leave():
                        return
        except BaseException as error:  # whatever it is, it is told to those who wait
            feed.fail(error)
            self._leave(error)

    def _arriving(self) -> Iterator[Request | None]:
        while True:
            with self._lock:
                request = self._waiting.popleft() if self._waiting else None
            if request is not None:
                try:
                    self._gate.check()
                except UsageError as error:  # it was closed: what has begun is finished
                    request.fail(error)
            yield request

    def _leave(self, error: BaseException | None = None) -> bool:
        """Whether the thread may end: nothing waits, or what waits is told of the error."""
        with self._lock:
            if error is not None:
                while self._waiting:
                    self._waiting.popleft().fail(error)
            self._working = bool(self._waiting)
            return not self._working
