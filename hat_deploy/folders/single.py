"""One file, named by the caller together with its target: no journal, no threads."""

from __future__ import annotations

import time
from pathlib import Path

from hat_deploy import images
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.outcomes import Done
from hat_deploy.folders.stages import enlarged
from hat_deploy.folders.writing import Place, write
from hat_deploy.tiles.enlarger import Enlarger, OnTiles


def upscale_one(
    job: Job, upscaler: Enlarger, *, quality: int = 95, progress: OnTiles | None = None
) -> Done:
    """See :meth:`hat_deploy.Upscaler.upscale_file`."""
    started = time.monotonic()
    _require_another_file(job.source, job.target)
    picture = images.decode(job.source)
    tiles = 0

    def count(done: int, total: int) -> None:
        nonlocal tiles
        tiles = done
        if progress is not None:
            progress(done, total)

    pixels = upscaler.upscale(picture.pixels, progress=count)
    try:
        place = Place(job.target)  # the caller named it
        notes = write(enlarged(picture, pixels), place, quality=quality)
    except OSError as error:
        raise PictureError(f"the result cannot be written: {error.strerror or error}") from error
    seconds = time.monotonic() - started
    return Done(job=job, seconds=seconds, tiles=tiles, notes=picture.notes + notes)


def _require_another_file(source: Path, target: Path) -> None:
    if target.suffix.lower() not in images.FORMATS:
        raise UsageError(f"the suffix of {target} is not one of {', '.join(images.FORMATS)}")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target} is the image to be read: write to another file")
