"""What a run would do, told from names, headers and journals alone; nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hat_deploy.errors import PictureError
from hat_deploy.jobs import intake, journal
from hat_deploy.jobs.outcomes import Failed, Options, Skipped
from hat_deploy.jobs.stages import failure, settings_of
from hat_deploy.sources import Job
from hat_deploy.upscaler import Upscaler


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A picture that would be upscaled."""

    job: Job
    height: int
    width: int
    """As the header gives them: an orientation may swap them."""
    tiles: int
    """For a picture in colour without transparency."""


def preview(
    jobs: Iterable[Job], upscaler: Upscaler, options: Options
) -> Iterator[Planned | Skipped | Failed]:
    """What would become of each job as far as can be told without decoding it."""
    journals: dict[Path, dict[str, journal.Entry]] = {}
    for job in jobs:
        try:
            if job.root not in journals:
                journals[job.root] = journal.read(job.root)
            entry = journals[job.root].get(journal.relative(job.target, job.root))
            settings = settings_of(job, upscaler, options)
            keep = journal.reason_to_keep(job, entry, settings, overwrite=options.overwrite)
            if keep is not None:
                yield Skipped(job=job, reason=keep.reason)
                continue
            source = intake.read(job.source, max_pixels=options.max_pixels)
        except (PictureError, OSError) as error:
            yield failure(job, error)
            continue
        tiles = upscaler.tiles(source.height, source.width)
        yield Planned(job=job, height=source.height, width=source.width, tiles=tiles)
