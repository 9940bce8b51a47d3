"""Decoding, computing and encoding side by side.

    decoder threads -> inbox -> engine loop (the caller's thread) -> outbox -> encoder threads

Only the budget bounds the queues: every image, from before it is decoded until after it is
written, holds its share of bytes and one of a number of places.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator

from hat_deploy.folders.budget import Budget
from hat_deploy.folders.clips import ClipLoop
from hat_deploy.folders.engine_loop import FIRST_FAILURE, EngineLoop, untried
from hat_deploy.folders.job_list import Job, JobList, Rejected
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.outcomes import Done, Failed, OnProgress, Options, Outcome, Skipped
from hat_deploy.folders.stages import Stages
from hat_deploy.folders.workers import Workers
from hat_deploy.machine import available_memory
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.video.names import is_clip

log = logging.getLogger(__name__)

PLACES = 64
"""Images in progress at once, or eight batches where that is more."""
PATIENCE = 600.0
"""Seconds to wait at the end for images of other runs while none of them is finished."""
SHORTEST_PAUSE = 0.05
"""Seconds between the first two checks on them; grows to one second."""
ELSEWHERE = "another run is still working on it: run the same command again when that has ended"


def run(
    jobs: Iterable[Job],
    upscaler: Enlarger,
    options: Options | None = None,
    *,
    progress: OnProgress | None = None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Generator[Outcome, None, None]:
    """Work through the jobs, yielding what became of each as soon as it is known.

    What the journal of a result's folder says is done, by the same model, halo and (for JPEG,
    WebP and AVIF) quality, is skipped. What another run is working on is looked at again at the
    end, and done if that run has ended without it. One image that fails stops nothing; a full
    disk ends the run, and so does an engine that fails. Whatever ends it, only whole files are
    left, and no thread.

    Args:
        on_note: given remarks on the journals for the user, before anything is done.

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
    settings = {**upscaler.settings, **options.settings, "quality": options.quality}
    if any(is_clip(job.target) for job in todo):
        settings["video"] = dict(options.video.settings)
    journals = Journals(todo, settings)
    told = 0
    patience = _Patience()
    try:
        for note in journals.open():
            on_note(note)
        yield from map(_refused, rejected)
        while todo:
            clips = [job for job in todo if is_clip(job.target)]
            pictures = [job for job in todo if not is_clip(job.target)]
            total = told + len(todo)
            loop = _round(pictures, told, upscaler, options, journals, others=len(clips))
            yield from _logged(loop.outcomes(progress))
            films = ClipLoop(
                clips,
                upscaler,
                options,
                journals,
                told=loop.told,
                total=total,
                halted=loop.halted,
            )
            yield from _logged(films.outcomes(progress))
            told, todo = films.told, loop.elsewhere + films.elsewhere
            if not patience.wait(len(todo)):
                break
        for job in todo:
            yield Failed(source=job.source, target=job.target, reason=ELSEWHERE)
    finally:
        journals.close()


def _round(
    todo: list[Job],
    told: int,
    upscaler: Enlarger,
    options: Options,
    journals: Journals,
    *,
    others: int,
) -> EngineLoop:
    places = max(PLACES, 8 * upscaler.engine.input.batch)
    budget = Budget(options.memory or available_memory() // 4, places)
    stages = Stages(upscaler, options, journals, budget)
    workers = Workers(todo, stages, budget, on_gpu=upscaler.engine.on_gpu)
    return EngineLoop(todo, stages, workers, told=told, fail_fast=options.fail_fast, others=others)


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
    """:func:`run` for a job list: the rejected paths come first."""
    options = options or Options()
    if listed.rejected and options.fail_fast:
        yield from map(_refused, listed.rejected)
        yield from (untried(job, FIRST_FAILURE) for job in listed.jobs)
    else:
        yield from _run(listed.rejected, listed.jobs, upscaler, options, progress, on_note)


def _logged(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    for outcome in outcomes:
        _log(outcome)
        yield outcome


def _log(outcome: Outcome) -> None:
    """Say what became of an image to those who listen."""
    match outcome:
        case Done():
            log.info("%s: done, %d tiles in %.1f s", outcome.source, outcome.tiles, outcome.seconds)
        case Skipped():
            log.info("%s: skipped, %s", outcome.source, outcome.reason or "its result exists")
        case Failed():
            log.info("%s: not processed, %s", outcome.source, outcome.reason)


def _refused(rejected: Rejected) -> Failed:
    return Failed(source=rejected.source, reason=rejected.reason)
