"""The folder run: every job done, skipped or listed; one bad picture stops nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hat_deploy import images
from hat_deploy.errors import CheckFailed, PictureError
from hat_deploy.sources import Job
from hat_deploy.upscaler import Upscaler


@dataclass(frozen=True, kw_only=True)
class Done:
    """A picture written."""

    job: Job
    seconds: float
    tiles: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A picture whose result exists already."""

    job: Job


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A picture that could not be processed; nothing was written for it."""

    source: Path
    reason: str


Outcome = Done | Skipped | Failed
OnTiles = Callable[[int, int], None]
"""Called while a picture is computed: tiles done, tiles in all."""


def run(
    jobs: Iterable[Job],
    upscaler: Upscaler,
    *,
    overwrite: bool = False,
    quality: int = 95,
    on_tiles: OnTiles = lambda done, total: None,
) -> Iterator[Outcome]:
    """Work through the jobs, yielding what became of each.

    An interrupt leaves only whole files behind.
    """
    for job in jobs:
        if not overwrite and job.target.exists():
            yield Skipped(job=job)
            continue
        try:
            yield _upscale(job, upscaler, quality, on_tiles)
        except (PictureError, CheckFailed) as error:
            yield Failed(source=job.source, reason=str(error))
        except OSError as error:
            yield Failed(source=job.source, reason=error.strerror or str(error))
        except MemoryError:
            yield Failed(source=job.source, reason="not enough memory for a picture of this size")


def _upscale(job: Job, upscaler: Upscaler, quality: int, on_tiles: OnTiles) -> Done:
    started = time.monotonic()
    picture = images.decode(job.source)
    total = upscaler.tiles(*picture.pixels.shape[:2])
    done = 0

    def count(tiles: int) -> None:
        nonlocal done
        done += tiles
        on_tiles(done, max(total, done))

    pixels = upscaler.upscale(picture.pixels, on_batch=count)
    images.write(replace(picture, pixels=pixels), job.target, quality=quality)
    return Done(job=job, seconds=time.monotonic() - started, tiles=done, notes=picture.notes)
