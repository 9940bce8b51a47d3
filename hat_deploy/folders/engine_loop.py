"""The engine's end of a run: the caller's thread feeds the engine and tells what comes out."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator

from hat_deploy import images
from hat_deploy.errors import CheckFailed, HatDeployError, PictureError
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.outcomes import Failed, OnProgress, Outcome, Progress
from hat_deploy.folders.stages import DiskFull, Elsewhere, Item, Stages, failure
from hat_deploy.folders.waiting import Waiting
from hat_deploy.folders.workers import Decoded, Workers
from hat_deploy.tiles.enlargement import Enlargement, Piece
from hat_deploy.tiles.streaming import stream

LINGER = 0.05
"""Seconds to wait for another image before a batch is computed that is not full."""
INTERRUPTED = "the run was interrupted"
FIRST_FAILURE = "the run was to stop at the first failure"
_OF_ONE_IMAGE = (PictureError, CheckFailed)


class EngineLoop:
    """The caller's thread: a feed for the engine, and what comes out.

    Args:
        later: told of each job that another run is working on; by default they are kept for
            another round.
    """

    def __init__(
        self,
        jobs: Waiting,
        stages: Stages,
        workers: Workers,
        *,
        told: int,
        fail_fast: bool,
        others: int = 0,
        later: Callable[[Job], object] | None = None,
    ) -> None:
        self._stages = stages
        self._workers = workers
        self._fail_fast = fail_fast
        self._before = told
        self._jobs = jobs
        self._others = others
        self._decoding = workers.decoders
        self._computing: dict[Enlargement, Item] = {}
        self._again: deque[Item] = deque()
        self._ready: deque[Enlargement] = deque()
        self._encoding = 0
        self._known: deque[Outcome] = deque()
        self.told = told
        """Outcomes given out, those of earlier rounds included."""
        self.elsewhere: list[Job] = []
        """Jobs without an outcome: other runs are working on them."""
        self._later = later or self.elsewhere.append
        self._halted: str | None = None

    def outcomes(self, progress: OnProgress | None) -> Iterator[Outcome]:
        """Every job's, in the order in which they become known.

        Raises:
            KeyboardInterrupt: one came; what is known by then, and what was not tried, is told
                first.
        """
        with self._workers:
            try:
                yield from self._outcomes(progress)
            except KeyboardInterrupt:
                self._halted = INTERRUPTED
                yield from self._rest(progress)
                raise

    def _outcomes(self, progress: OnProgress | None) -> Iterator[Outcome]:
        for pieces in stream(self):
            if progress is not None and pieces:
                progress(self._at(pieces[-1].picture))
            self._send(pieces)
            self._hear(wait=False)
            yield from self._tell(progress)
            if self._halted is not None:
                break
        while self._encoding and self._halted is None:
            self._hear(wait=True)
            yield from self._tell(progress)
        yield from self._rest(progress)

    def _rest(self, progress: OnProgress | None) -> Iterator[Outcome]:
        """What the threads still finish, and what is left undone."""
        self._workers.end()
        self._hear(wait=False)
        yield from self._tell(progress)
        if self._halted is not None:
            self.elsewhere.clear()
            for job in self._jobs.left():
                yield untried(job, self._halted)

    @property
    def halted(self) -> str | None:
        """Why the run has ended early; None if it has not."""
        return self._halted

    @property
    def ended(self) -> bool:
        """Whether no image will come any more; with :meth:`take` a feed of images."""
        waiting = self._again or self._ready
        return (self._decoding == 0 and not waiting) or self._halted is not None

    def take(self) -> Enlargement | None:
        """The next decoded image, if one comes soon."""
        if self._ready:
            return self._ready.popleft()
        until = time.monotonic() + LINGER
        work = None
        while work is None and not self.ended:
            if self._again:
                work = self._start(self._again.popleft())
                continue
            try:
                message = self._workers.decoded.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            work = self._receive(message)
            if work is None and time.monotonic() > until:
                return None  # many skipped images in a row: the caller reports them first
        return work

    def _receive(self, message: Decoded) -> Enlargement | None:
        """Handle a decoder's message; returns an image that is to be computed."""
        if isinstance(message, Item):
            return self._start(message)
        if message is None:
            self._decoding -= 1
        elif isinstance(message, Elsewhere):
            self._later(message.job)
        else:
            self._settle(message)
        return None

    def _hear(self, *, wait: bool) -> None:
        """Handle the encoders' messages; ``wait`` for at least one."""
        while wait or not self._workers.written.empty():
            message = self._workers.written.get()
            self._encoding -= 1
            self._settle(message)
            wait = False

    def _start(self, item: Item) -> Enlargement | None:
        if item.computed:  # the network has nothing to do
            self._encode(item)
            return None
        try:
            works = self._stages.enlarge(item)
        except Exception as error:
            if isinstance(error, HatDeployError) and not isinstance(error, _OF_ONE_IMAGE):
                raise
            self._stages.drop(item)
            self._settle(failure(item.job, error))
            return None
        self._computing |= dict.fromkeys(works, item)
        self._ready.extend(works[1:])
        return works[0]

    def _send(self, pieces: list[Piece]) -> None:
        """Images whose last tile has come, or that failed, go on to the next pass or encoder."""
        for work in dict.fromkeys(piece.picture for piece in pieces):
            images.release(work.result)
            item = self._computing.get(work)
            if item is None or not item.finished:
                continue
            for part in item.works:
                del self._computing[part]
            if item.computed:
                self._encode(item)
            else:
                self._again.append(item)

    def _encode(self, item: Item) -> None:
        self._encoding += 1
        self._workers.encode(item)

    def _settle(self, outcome: Outcome | Exception) -> None:
        if isinstance(outcome, DiskFull):
            self._halted = str(outcome)
            return
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.target is not None:
            self._jobs.settle(outcome.source, outcome.target)
        self._known.append(outcome)
        if self._fail_fast and isinstance(outcome, Failed) and self._halted is None:
            self._halted = FIRST_FAILURE

    def _tell(self, progress: OnProgress | None) -> Iterator[Outcome]:
        while self._known:
            outcome = self._known.popleft()
            self.told += 1
            if progress is not None:
                progress(Progress(settled=self.told, jobs=self._total, source=outcome.source))
            yield outcome

    @property
    def _total(self) -> int | None:
        known = self._jobs.total
        return None if known is None else self._before + known + self._others

    def _at(self, work: Enlargement) -> Progress:
        item = self._computing.get(work)
        done, total = item.progress if item else (work.done, work.total)
        return Progress(
            settled=self.told,
            jobs=self._total,
            source=item.job.source if item else None,
            tiles_done=done,
            tiles=total,
        )


def untried(job: Job, reason: str) -> Failed:
    """The outcome of a job whose turn never came."""
    return Failed(source=job.source, target=job.target, reason=reason, tried=False)
