"""Decoding, computing and encoding side by side.

    decoder threads -> inbox -> engine loop (the caller's thread) -> outbox -> encoder threads

Only the budget bounds the queues: every image, from before it is decoded until after it is
written, holds its share of bytes and one of a number of places.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from threading import BoundedSemaphore
from typing import Any

from hat_deploy.engines.several import count_of
from hat_deploy.folders.budget import Budget
from hat_deploy.folders.clips import ClipLoop
from hat_deploy.folders.engine_loop import FIRST_FAILURE, EngineLoop, untried
from hat_deploy.folders.job_list import Job, JobList, Rejected
from hat_deploy.folders.job_stream import JobStream
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.outcomes import (
    Done,
    Failed,
    OnProgress,
    Options,
    Outcome,
    Skipped,
    refused,
)
from hat_deploy.folders.record import Record
from hat_deploy.folders.stages import Stages
from hat_deploy.folders.waiting import Waiting
from hat_deploy.folders.workers import TRANSFERS, Workers, threads
from hat_deploy.machine import available_memory, usable_cores
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.video.names import is_clip

log = logging.getLogger(__name__)

PLACES = 64
"""Images in progress at once for each engine, or eight batches where that is more."""
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
    yield from run_list(JobList(list(jobs)), upscaler, options, progress=progress, on_note=on_note)


def _run(
    listed: JobList | JobStream,
    upscaler: Enlarger,
    options: Options,
    progress: OnProgress | None,
    on_note: Callable[[str], object],
) -> Generator[Outcome, None, None]:
    settings = settings_of(upscaler, options)
    if isinstance(listed, JobList):
        if any(is_clip(job.target) for job in listed.jobs):
            settings["video"] = dict(options.video.settings)
        journals = Journals(listed.jobs, settings, shard=options.shard)
        todo: list[Job] | JobStream = listed.jobs
    else:
        journals = Journals([], settings, roots=listed.roots, shard=options.shard)
        todo = listed
    far = _distant(listed)
    told = 0
    patience = _Patience()
    try:
        for note in journals.open():
            on_note(note)
        with Record(journals, options.shard) as record:
            if isinstance(listed, JobList):
                yield from map(refused, listed.rejected)
            while True:
                clips: list[Job] = []
                images: Iterable[Job | Rejected] = todo  # a stream has no clips
                if isinstance(todo, list):
                    clips = [job for job in todo if is_clip(job.target)]
                    images = [job for job in todo if not is_clip(job.target)]
                waiting = Waiting(images)
                loop = engine_loop(
                    waiting, upscaler, options, journals, told=told, others=len(clips), far=far
                )
                yield from _recorded(loop.outcomes(progress), record, waiting, len(clips))
                films = ClipLoop(
                    clips,
                    upscaler,
                    options,
                    journals,
                    told=loop.told,
                    total=told + (waiting.total or 0) + len(clips),
                    halted=loop.halted,
                )
                yield from _recorded(films.outcomes(progress), record, waiting, len(clips))
                told, todo = films.told, loop.elsewhere + films.elsewhere
                if not patience.wait(len(todo)):
                    break
            for job in todo:
                yield Failed(source=job.source, target=job.target, reason=ELSEWHERE)
    finally:
        journals.close()


def engine_loop(
    jobs: Waiting,
    upscaler: Enlarger,
    options: Options,
    journals: Journals,
    *,
    told: int = 0,
    others: int = 0,
    far: bool,
    later: Callable[[Job], object] | None = None,
) -> EngineLoop:
    """The threads and queues for images, ready to begin.

    Args:
        told: outcomes of earlier rounds.
        others: jobs that are not images.
        far: whether images come or results go through a network.
        later: see :class:`EngineLoop`.
    """
    engines = count_of(upscaler.engine)
    places = engines * max(PLACES, 8 * upscaler.engine.input.batch)
    budget = Budget(options.memory or available_memory() // 4, places)
    counts = threads(usable_cores(), on_gpu=upscaler.engine.on_gpu, engines=engines)
    codecs = BoundedSemaphore(sum(counts)) if far else None
    stages = Stages(upscaler, options, journals, budget, codecs=codecs)
    workers = Workers(jobs, stages, budget, (TRANSFERS, TRANSFERS) if far else counts)
    return EngineLoop(
        jobs,
        stages,
        workers,
        told=told,
        fail_fast=options.fail_fast,
        others=others,
        later=later,
    )


def settings_of(upscaler: Enlarger, options: Options) -> dict[str, Any]:
    """All that decides what the images of a run look like, as JSON types."""
    return {**upscaler.settings, **options.settings, "quality": options.quality}


def _distant(listed: JobList | JobStream) -> bool:
    """Whether images or results come and go through a network's stores."""
    return isinstance(listed, JobStream) and listed.distant


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
    listed: JobList | JobStream,
    upscaler: Enlarger,
    options: Options | None = None,
    *,
    progress: OnProgress | None = None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Generator[Outcome, None, None]:
    """:func:`run` for a job list, of which the rejected paths come first, or for a stream."""
    options = options or Options()
    if isinstance(listed, JobList) and listed.rejected and options.fail_fast:
        yield from map(refused, listed.rejected)
        yield from (untried(job, FIRST_FAILURE) for job in listed.jobs)
    else:
        yield from _run(listed, upscaler, options, progress, on_note)


def _recorded(
    outcomes: Iterator[Outcome], record: Record, pictures: Waiting, clips: int
) -> Iterator[Outcome]:
    for outcome in outcomes:
        log_outcome(outcome)
        record.add(outcome, None if pictures.total is None else pictures.total + clips)
        yield outcome


def log_outcome(outcome: Outcome) -> None:
    """Say what became of an image to those who listen."""
    match outcome:
        case Done():
            log.info("%s: done, %d tiles in %.1f s", outcome.source, outcome.tiles, outcome.seconds)
        case Skipped():
            log.info("%s: skipped, %s", outcome.source, outcome.reason or "its result exists")
        case Failed():
            log.info("%s: not processed, %s", outcome.source, outcome.reason)
