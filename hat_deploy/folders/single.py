"""One file, named by the caller together with its target: no journal, no threads."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from hat_deploy import images
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.outcomes import Done, Options
from hat_deploy.folders.stages import backed, enlarged
from hat_deploy.folders.writing import Place, write
from hat_deploy.tiles.enlarger import Enlarger, OnTiles
from hat_deploy.tiles.target_size import TargetSize


def upscale_one(
    job: Job,
    upscaler: Enlarger,
    *,
    quality: int = 95,
    size: TargetSize | None = None,
    linear_light: bool = False,
    progress: OnTiles | None = None,
) -> Done:
    """See :meth:`hat_deploy.Upscaler.upscale_file`."""
    started = time.monotonic()
    assert isinstance(job.source, Path)
    assert isinstance(job.target, Path)
    _require_another_file(job.source, job.target)
    picture = images.decode(job.source, animations=True)
    if picture.animation:
        images.require_holding(picture, job.target.suffix)
    frames = picture.frames
    tiles = before = ended = left = 0

    def count(done: int, total: int) -> None:
        nonlocal tiles, ended
        tiles = ended + done
        ended += total if done == total else 0
        if progress is not None:
            progress(tiles, max(tiles, before + total * left))

    results = []
    for number, frame in enumerate(frames):
        before, left = tiles, len(frames) - number
        results.append(
            upscaler.upscale(frame, size=size, linear_light=linear_light, progress=count)
        )
    pixels = results[0] if len(results) == 1 else np.concatenate(results)
    try:
        place = Place(job.target)  # the caller named it
        notes = write(enlarged(picture, pixels), place, quality=quality)
    except OSError as error:
        raise PictureError(f"the result cannot be written: {error.strerror or error}") from error
    seconds = time.monotonic() - started
    return Done(job=job, seconds=seconds, tiles=tiles, notes=picture.notes + notes)


def upscale_bytes(
    data: bytes, upscaler: Enlarger, options: Options, *, suffix: str | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """A file's content to that of its result.

    Args:
        data: an image file.
        suffix: of the result's format, as ``.png``; None for that of the source.

    Returns:
        The result, and notes on what decoding changed.

    Raises:
        PictureError: it cannot be decoded, or the format cannot hold the result.
        CheckFailed, ArtifactError: as :meth:`hat_deploy.Upscaler.upscale`.
    """
    suffix = suffix or images.suffix_of(data)
    picture = images.decode_bytes(data, max_pixels=options.max_pixels)
    pixels = upscaler.upscale(picture.pixels, size=options.size, linear_light=options.linear_light)
    result = backed(enlarged(picture, pixels), suffix, options)
    return images.encode(result, suffix, quality=options.quality), picture.notes


def _require_another_file(source: Path, target: Path) -> None:
    if target.suffix.lower() not in images.FORMATS:
        raise UsageError(f"the suffix of {target} is not one of {', '.join(images.FORMATS)}")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target} is the image to be read: write to another file")
