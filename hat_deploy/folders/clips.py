"""The clips among a run's jobs, one after the other; each is a job like an image's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hat_deploy.errors import PictureError
from hat_deploy.files import sha256
from hat_deploy.folders.engine_loop import FIRST_FAILURE, INTERRUPTED, untried
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.journals import Claimed, Journals
from hat_deploy.folders.outcomes import (
    ClipProgress,
    Done,
    Failed,
    OnProgress,
    Options,
    Outcome,
    Progress,
    Skipped,
)
from hat_deploy.folders.places.remote import Location
from hat_deploy.folders.stages import TAKEN, DiskFull, settings_of, settled
from hat_deploy.folders.writing import Place, Taken, write_whole
from hat_deploy.tiles.enlarger import Enlarger

if TYPE_CHECKING:
    from hat_deploy.video.computing import Position


class ClipLoop:
    """What is left of a run when its images are done: its clips.

    Args:
        told: outcomes given out before.
        total: jobs of the run.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        upscaler: Enlarger,
        options: Options,
        journals: Journals,
        *,
        told: int,
        total: int,
        halted: str | None = None,
    ) -> None:
        self._jobs = deque(jobs)
        self._upscaler = upscaler
        self._options = options
        self._journals = journals
        self._total = total
        self._halted = halted
        self.told = told
        """Outcomes given out, those before included."""
        self.elsewhere: list[Job] = []
        """Jobs without an outcome: other runs are working on them."""

    def outcomes(self, progress: OnProgress | None) -> Iterator[Outcome]:
        """Every clip's, one after the other.

        Raises:
            KeyboardInterrupt: one came; what was not tried is told first.
            ArtifactError: the engine failed.
        """
        while self._jobs:
            job = self._jobs[0]
            if self._halted is not None:
                self._jobs.popleft()
                yield self._tell(untried(job, self._halted), progress)
                continue
            try:
                outcome = settled(job, partial(self._claimed, job, progress))
            except Claimed:
                self.elsewhere.append(self._jobs.popleft())
                continue
            except DiskFull as error:
                self._halted = str(error)
                continue
            except KeyboardInterrupt:
                yield from (untried(job, INTERRUPTED) for job in self._jobs)
                raise
            self._jobs.popleft()
            yield self._tell(outcome, progress)
            if self._options.fail_fast and isinstance(outcome, Failed):
                self._halted = FIRST_FAILURE
        if self._halted is not None:
            self.elsewhere.clear()

    def _tell(self, outcome: Outcome, progress: OnProgress | None) -> Outcome:
        self.told += 1
        if progress is not None:
            progress(Progress(settled=self.told, jobs=self._total, source=outcome.source))
        return outcome

    def _claimed(self, job: Job, progress: OnProgress | None) -> Outcome:
        settings = settings_of(job, self._upscaler.settings, self._options)
        place = self._journals.claim(
            job, settings, overwrite=self._options.overwrite, damaged=damaged
        )
        if not isinstance(place, Place):
            return Skipped(job=job, reason=place.reason)
        try:
            return self._upscaled(job, place, settings, progress)
        finally:
            self._journals.release(job)

    def _upscaled(
        self, job: Job, place: Place, settings: dict[str, Any], progress: OnProgress | None
    ) -> Outcome:
        from hat_deploy.folders.segments import Segments
        from hat_deploy.video.clip import Clip

        began = time.monotonic()
        file, _ = job.here
        status = file.stat()

        def tell(position: Position) -> None:
            if progress is not None:
                progress(self._at(job, position))

        with Clip(file, job.target.suffix, self._upscaler, self._options) as clip:
            source = (status.st_size, status.st_mtime_ns, sha256(file))
            store = Segments(job, {**settings, "recipe": clip.recipe.settings}, source)
            try:
                tally = clip.compute(store, on_position=tell)

                def fill(path: Path) -> tuple[str, ...]:
                    return clip.assemble(store.files(tally.parts), path)

                def record(size: int, sha256: str) -> None:
                    self._journals.record(
                        job, output=(size, sha256), source=source, settings=settings
                    )

                changed = source[1] if self._options.keep_times else None
                try:
                    notes = write_whole(fill, place, changed=changed, record=record)
                except Taken:
                    return Skipped(job=job, reason=TAKEN)
                store.remove()
            finally:
                store.close()
            return Done(
                job=job,
                seconds=time.monotonic() - began,
                tiles=tally.tiles,
                notes=clip.notes + notes,
                damaged=clip.damages,
            )

    def _at(self, job: Job, position: Position) -> Progress:
        rate = position.computed / position.seconds if position.seconds else 0.0
        return Progress(
            settled=self.told,
            jobs=self._total,
            source=job.source,
            clip=ClipProgress(
                frame=position.frame, frames=position.frames, rate=rate, size=position.size
            ),
        )


def damaged(target: Location) -> bool:
    """Whether a result is no clip, so that nothing is lost if it is made again."""
    from hat_deploy.video.source import Source

    assert isinstance(target, Path)
    try:
        Source(target, deinterlace=True).close()
    except PictureError as error:
        return not isinstance(error.__cause__, (OSError, MemoryError))
    return False


def read_size(path: Path, *, max_pixels: int) -> tuple[int, int, int]:
    """Height, width and number of frames of a clip, as far as it says; 1 if it does not.

    Raises:
        PictureError: it cannot be read, or is too large.
    """
    from hat_deploy.video.computing import require_permitted
    from hat_deploy.video.source import Source

    with Source(path, deinterlace=True) as source:
        require_permitted(source, max_pixels)
        return source.facts.height, source.facts.width, source.facts.expected or 1
