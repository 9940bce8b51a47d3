"""What a run would do, from names, headers and journals alone; nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hat_deploy.folders import clips, reading
from hat_deploy.folders.job_list import Job, Rejected
from hat_deploy.folders.journal import JournalReader, relative
from hat_deploy.folders.journal_segments import RemoteJournal
from hat_deploy.folders.keeping import reason_to_keep
from hat_deploy.folders.outcomes import Failed, Options, Skipped, refused
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.stages import damaged, failure, settings_of
from hat_deploy.tiles.target_size import Size, steps_to
from hat_deploy.video.names import is_clip

Earlier = JournalReader | RemoteJournal


class Estimator(Protocol):
    """The part of an :class:`hat_deploy.api.Upscaler` that a preview needs."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides how an image comes out; without ``model`` where that is not yet known."""

    @property
    def scale(self) -> int:
        """The network's factor."""

    def tiles(self, height: int, width: int) -> int:
        """Tiles of one colour image of this size."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """An image that would be upscaled."""

    job: Job
    height: int
    width: int
    """As the header gives them: an orientation may swap them."""
    result: Size
    """Height and width of the result."""
    tiles: int
    """For an image in colour without transparency; of a clip, for all frames that it states."""


def preview(
    jobs: Iterable[Job | Rejected],
    upscaler: Estimator,
    options: Options,
    on_note: Callable[[str], object] = lambda note: None,
) -> Iterator[Pending | Skipped | Failed]:
    """What would become of each job as far as can be told without decoding it.

    Args:
        upscaler: an :class:`hat_deploy.api.Upscaler`, or what stands for one that would
            be made first.
        on_note: given remarks on the journals for the user.
    """
    with ExitStack() as stack:
        journals: dict[Location, Earlier] = {}
        for job in jobs:
            if isinstance(job, Rejected):
                yield refused(job)
                continue
            try:
                if job.root not in journals:
                    journals[job.root] = reader = _reader(job.root)
                    stack.enter_context(reader)
                    if note := journals[job.root].note:
                        on_note(note)
                yield _foretell(job, journals[job.root], upscaler, options)
            except Exception as error:  # of one image, as in a run
                yield failure(job, error)


def _reader(folder: Location) -> Earlier:
    """A journal, of which nothing is written."""
    return RemoteJournal(folder) if isinstance(folder, Remote) else JournalReader(folder)


def _foretell(
    job: Job, earlier: Earlier, upscaler: Estimator, options: Options
) -> Pending | Skipped:
    entry = earlier.last(relative(job.target, job.root))
    settings = settings_of(job, upscaler.settings, options)
    if entry is not None and "model" not in settings:
        known = {name: value for name, value in entry.settings.items() if name != "model"}
        entry = replace(entry, settings=known)
    broken = clips.damaged if is_clip(job.target) else damaged
    keep = reason_to_keep(job, entry, settings, overwrite=options.overwrite, damaged=broken)
    if keep is not None:
        return Skipped(job=job, reason=keep.reason)
    frames = 1
    if is_clip(job.source):
        height, width, frames = clips.read_size(job.here[0], max_pixels=options.max_pixels)
    else:
        height, width = reading.read_size(job.source, max_pixels=options.max_pixels)
    steps = steps_to(options.size, (height, width), upscaler.scale)
    steps.check()
    tiles = frames * sum(upscaler.tiles(*size) for size in steps.sizes[: steps.passes])
    return Pending(job=job, height=height, width=width, result=steps.final, tiles=tiles)
