"""A pipeline that never runs dry: it takes jobs from several calls and goes on between them.

One that began anew for each block of images would leave its engine idle while the first image is
read and the last one is written.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future

from hat_deploy.errors import HatDeployError
from hat_deploy.folders.job_list import Job, Rejected
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.outcomes import Failed, Options, Outcome, refused
from hat_deploy.folders.pipeline import ELSEWHERE, PATIENCE, engine_loop, log_outcome
from hat_deploy.folders.places.remote import Location
from hat_deploy.folders.waiting import Waiting
from hat_deploy.tiles.enlarger import Enlarger

PAUSE = 1.0
"""Seconds after which a job that another run is working on is looked at again."""


class Line:
    """The pipeline, in a thread of its own.

    Args:
        far: whether images come or results go through a network.
    """

    def __init__(
        self, upscaler: Enlarger, options: Options, journals: Journals, *, far: bool
    ) -> None:
        self._feed = _Feed()
        self._guard = threading.Lock()
        self._asked: defaultdict[_Key, deque[Future[Outcome]]] = defaultdict(deque)
        self._since: dict[_Key, float] = {}
        self._error: Exception | None = None
        self._loop = engine_loop(
            self._feed, upscaler, options, journals, far=far, later=self._later
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, found: Job | Rejected) -> Future[Outcome]:
        """Add an image; what becomes of it is known later.

        The future raises what ended the pipeline, if something did: an engine that failed, or a
        full disk.
        """
        future: Future[Outcome] = Future()
        if isinstance(found, Rejected):
            future.set_result(refused(found))
            return future
        with self._guard:
            if self._error is not None:
                future.set_exception(self._error)
                return future
            self._asked[found.source, found.target].append(future)
        self._feed.put(found)
        return future

    def close(self) -> None:
        """Finish what was put, and end."""
        self._feed.end()
        self._thread.join()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            for outcome in self._loop.outcomes(None):
                log_outcome(outcome)
                self._settle(outcome)
            if self._loop.halted is not None:
                error = HatDeployError(self._loop.halted)
        except Exception as raised:  # told to those who wait
            error = raised
        with self._guard:
            self._error = error or HatDeployError("the pipeline has ended")
            left = [future for futures in self._asked.values() for future in futures]
            self._asked.clear()
        for future in left:
            future.set_exception(self._error)

    def _settle(self, outcome: Outcome) -> None:
        key = outcome.source, outcome.target
        with self._guard:
            futures = self._asked.get(key)
            future = futures.popleft() if futures else None
            if not futures:
                self._asked.pop(key, None)
            self._since.pop(key, None)
        if future is not None:
            future.set_result(outcome)

    def _later(self, job: Job) -> None:
        """Look again at a job that another run has; not for ever."""
        since = self._since.setdefault((job.source, job.target), time.monotonic())
        if time.monotonic() - since > PATIENCE:
            self._settle(Failed(source=job.source, target=job.target, reason=ELSEWHERE))
        else:
            self._feed.put_back(job)


_Key = tuple[Location, Location | None]


class _Feed(Waiting):
    """Jobs that are still coming; taken by any thread, which waits for the next one."""

    def __init__(self) -> None:
        super().__init__(iter(()))
        self._coming: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._back: deque[Job] = deque()

    def put(self, job: Job) -> None:
        """Add one."""
        self._coming.put(job)

    def put_back(self, job: Job) -> None:
        """Add one that is taken when no other came for a while."""
        self._back.append(job)

    def end(self) -> None:
        """Let whoever takes know that no more come."""
        self._coming.put(None)

    def take(self) -> Job | None:
        """The next one; None at the end."""
        while True:
            try:
                found = self._coming.get(timeout=PAUSE)
            except queue.Empty:
                try:
                    return self._back.popleft()
                except IndexError:
                    continue
            if found is None:
                self._coming.put(None)  # for the other threads
            return found

    def settle(self, source: Location, target: Location) -> None:
        """Nothing is kept of those that were taken."""

    def left(self) -> Iterator[Job]:
        """Those who put them know."""
        return iter(())
