"""Decoding, computing and encoding side by side.

    decoder threads -> inbox -> engine loop (the caller's thread) -> outbox -> encoder threads

Nothing bounds the queues but the budget: every picture, from before it is decoded until after it
is written, holds its share of bytes and one of a number of places.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from hat_deploy import images
from hat_deploy.errors import CheckFailed, HatDeployError, PictureError
from hat_deploy.folders.budget import Budget
from hat_deploy.folders.job_list import Job, JobList, Rejected
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.outcomes import Failed, OnProgress, Options, Outcome, Progress
from hat_deploy.folders.stages import DiskFull, Elsewhere, Item, Stages, failure
from hat_deploy.folders.workers import Decoded, Workers
from hat_deploy.machine import available_memory
from hat_deploy.tiles.enlargement import Enlargement, Piece
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.tiles.streaming import stream

LINGER = 0.05
"""Seconds to wait for another picture before a batch is computed that is not full."""
PLACES = 64
"""Pictures on their way at once, at least; eight batches where that is more."""
PATIENCE = 600.0
"""Seconds to wait at the end for images of other runs while none of them is finished."""
SHORTEST_PAUSE = 0.05
"""Seconds between two looks at them at first; later a second."""
ELSEWHERE = "another run is still working on it: run the same command again when that has ended"
FIRST_FAILURE = "the run was to stop at the first failure"


def run(
    jobs: Iterable[Job],
    upscaler: Enlarger,
    options: Options | None = None,
    *,
    progress: OnProgress | None = None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Generator[Outcome, None, None]:
    """Work through the jobs, yielding what became of each as soon as it is known.

    What the journal of a result's folder says is done, by the same model, halo and (for JPEG
    and WebP) quality, is skipped. What another run is working on is looked at again at the end,
    and done if that run has ended without it. One picture that fails stops nothing; a full disk
    ends the run, and so does an engine that fails. Whatever ends it, only whole files are left,
    and no thread.

    Args:
        on_note: told what people should know of the journals, before anything is done.

    Raises:
        FolderBusy: a run with other settings is at work in one of the folders; nothing was done.
        ArtifactError: the engine failed.
    """
    options = options or Options()
    yield from _run([], list(jobs), upscaler, options, progress, on_note)


def _run(
    rejected: list[Rejected],
    todo: list[Job],
    upscaler: Enlarger,
    options: Options,
    progress: OnProgress | None,
    on_note: Callable[[str], object],
) -> Generator[Outcome, None, None]:
    journals = Journals(todo, {**upscaler.settings, "quality": options.quality})
    told = 0
    patience = _Patience()
    try:
        for note in journals.open():
            on_note(note)
        yield from map(_refused, rejected)
        while todo:
            loop = _round(todo, told, upscaler, options, journals)
            yield from loop.outcomes(progress)
            told, todo = loop.told, loop.elsewhere
            if not patience.wait(len(todo)):
                break
        for job in todo:
            yield Failed(source=job.source, target=job.target, reason=ELSEWHERE)
    finally:
        journals.close()


def _round(
    todo: list[Job], told: int, upscaler: Enlarger, options: Options, journals: Journals
) -> _Loop:
    places = max(PLACES, 8 * upscaler.engine.input.batch)
    budget = Budget(options.memory or available_memory() // 4, places)
    stages = Stages(upscaler, options, journals, budget)
    workers = Workers(todo, stages, budget)
    return _Loop(todo, stages, workers, told=told, fail_fast=options.fail_fast)


class _Patience:
    """How long to wait for other runs, which may be at work on their last images."""

    def __init__(self) -> None:
        self._left = -1
        self._pause = SHORTEST_PAUSE
        self._since = time.monotonic()

    def wait(self, left: int) -> bool:
        """Wait a moment before looking again; False where others get nowhere, or at the end."""
        if left == 0:
            return False
        if left != self._left:
            self._left, self._since = left, time.monotonic()
        if time.monotonic() - self._since > PATIENCE:
            return False
        time.sleep(self._pause)
        self._pause = min(1.0, 2 * self._pause)
        return True


def run_list(
    listed: JobList,
    upscaler: Enlarger,
    options: Options | None = None,
    *,
    progress: OnProgress | None = None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Generator[Outcome, None, None]:
    """:func:`run` for all that was found, what had to be rejected first."""
    options = options or Options()
    if listed.rejected and options.fail_fast:
        yield from map(_refused, listed.rejected)
        yield from (_untried(job.source, job.target, FIRST_FAILURE) for job in listed.jobs)
    else:
        yield from _run(listed.rejected, listed.jobs, upscaler, options, progress, on_note)


def _refused(rejected: Rejected) -> Failed:
    return Failed(source=rejected.source, reason=rejected.reason)


def _untried(source: Path, target: Path, reason: str) -> Failed:
    return Failed(source=source, target=target, reason=reason, tried=False)


_OF_ONE_IMAGE = (PictureError, CheckFailed)


class _Loop:
    """The caller's thread: a feed for the engine, and what comes out."""

    def __init__(
        self,
        jobs: list[Job],
        stages: Stages,
        workers: Workers,
        *,
        told: int,
        fail_fast: bool,
    ) -> None:
        self._stages = stages
        self._workers = workers
        self._fail_fast = fail_fast
        self._total = told + len(jobs)
        self._unsettled = {(job.source, job.target): job for job in jobs}
        self._decoding = workers.decoders
        self._computing: dict[Enlargement, Item] = {}
        self._encoding = 0
        self._known: deque[Outcome] = deque()
        self.told = told
        """Outcomes given out, those of earlier rounds included."""
        self.elsewhere: list[Job] = []
        """Jobs without an outcome: other runs are working on them."""
        self._halted: str | None = None

    def outcomes(self, progress: OnProgress | None) -> Iterator[Outcome]:
        """Every job's, in the order in which they become known."""
        with self._workers:
            yield from self._outcomes(progress)

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
        self._workers.end()
        self._hear(wait=False)
        yield from self._tell(progress)
        if self._halted is not None:
            self.elsewhere.clear()
            for source, target in self._unsettled:
                yield _untried(source, target, self._halted)

    @property
    def ended(self) -> bool:
        """Whether no picture will come any more; with :meth:`take` a feed of pictures."""
        return self._decoding == 0 or self._halted is not None

    def take(self) -> Enlargement | None:
        """The next decoded picture, if one comes soon."""
        until = time.monotonic() + LINGER
        work = None
        while work is None and not self.ended:
            try:
                message = self._workers.decoded.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            work = self._receive(message)
            if work is None and time.monotonic() > until:
                return None  # a long row of skipped pictures: let the caller hear of them
        return work

    def _receive(self, message: Decoded) -> Enlargement | None:
        """See to what a decoder says; a picture that is to be computed is returned."""
        if isinstance(message, Item):
            return self._start(message)
        if message is None:
            self._decoding -= 1
        elif isinstance(message, Elsewhere):
            self.elsewhere.append(message.job)
        else:
            self._settle(message)
        return None

    def _hear(self, *, wait: bool) -> None:
        """See to what the encoders have said; ``wait`` for at least one word."""
        while wait or not self._workers.written.empty():
            message = self._workers.written.get()
            self._encoding -= 1
            self._settle(message)
            wait = False

    def _start(self, item: Item) -> Enlargement | None:
        try:
            work = self._stages.enlarge(item)
        except Exception as error:
            if isinstance(error, HatDeployError) and not isinstance(error, _OF_ONE_IMAGE):
                raise
            self._stages.drop(item)
            self._settle(failure(item.job, error))
            return None
        self._computing[work] = item
        return work

    def _send(self, pieces: list[Piece]) -> None:
        """Hand pictures whose last tile has come, or that failed, to the encoders."""
        for work in dict.fromkeys(piece.picture for piece in pieces):
            images.release(work.result)
            if work.finished and work in self._computing:
                self._encoding += 1
                self._workers.encode(self._computing.pop(work))

    def _settle(self, outcome: Outcome | Exception) -> None:
        if isinstance(outcome, DiskFull):
            self._halted = str(outcome)
            return
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.target is not None:
            self._unsettled.pop((outcome.source, outcome.target), None)
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

    def _at(self, work: Enlargement) -> Progress:
        item = self._computing.get(work)
        return Progress(
            settled=self.told,
            jobs=self._total,
            source=item.job.source if item else None,
            tiles_done=work.done,
            tiles=work.total,
        )
