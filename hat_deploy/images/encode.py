"""Images to files; an image that the format cannot hold is refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hat_deploy.errors import PictureError, about
from hat_deploy.files import replacing
from hat_deploy.images.animations import encode_frames
from hat_deploy.images.codecs import encode_in_memory, nameable, write_directly
from hat_deploy.images.metadata import HEAD, completed, fitting
from hat_deploy.images.picture import Picture, Pixels
from hat_deploy.images.scratch import release
from hat_deploy.images.tiff_writer import TILE, TiffWriter

FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".avif": "avif",
    ".gif": "gif",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
}
"""The format that each file name suffix stands for."""

_IN_MEMORY = 2**25
"""Pixels of fewer bytes are encoded in memory first."""

_LONGEST = {"jpeg": 65_500, "webp": 16_383, "png": 1_000_000, "avif": 32_768, "gif": 65_535}
_LARGEST_BMP = 2**31 - 2**25
_MOST_AVIF = 2**28
"""Pixels that libavif reads back."""
_EIGHT_BIT = {"jpeg", "webp", "bmp", "gif"}
_MOVING = {"gif", "webp"}
_NAMES = {
    **{"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"},
    **{"gif": "GIF", "tiff": "TIFF", "bmp": "BMP"},
}


def write(
    picture: Picture, path: Path, *, quality: int = 95, consume: bool = False
) -> tuple[str, ...]:
    """:func:`encode` to a file, in the format of its suffix; missing folders are made.

    The file appears under its name whole or not at all, and replaces one that is there. Large
    images are encoded straight into it; TIFF (tiles from 256 MiB of pixels on, BigTIFF where
    the file could pass 4 GB) strip by strip or tile by tile. Beside the pixels this takes less
    than 64 MiB, but libwebp takes another 24 bytes a pixel, libavif up to 36, and GIFs are encoded
    in memory.

    Args:
        picture: what to write.
        path: its suffix is a key of ``FORMATS``, in any case.
        quality: see :func:`encode`.
        consume: the image's pixels may be spoilt; without it, large RGB(A) images are
            copied once for every format but TIFF.

    Returns:
        Notes on what the format could not hold of the metadata, for the user to read.

    Raises:
        PictureError: the format cannot hold the image, or the file cannot be written.
    """
    with about(path):
        form = _form(picture, path.suffix, quality)
    metadata, notes = fitting(picture.metadata, form, gray=picture.pixels.ndim == 2)
    notes += tuple(_coarsened(picture.pixels, form))
    fitted = replace(picture, metadata=metadata)
    try:
        with about(path), replacing(path) as partial:
            if form == "tiff":
                with partial.open("wb") as file:
                    _stream_tiff(file, fitted)
            elif form in ("avif", "gif") or picture.animation:
                partial.write_bytes(_encode(fitted, form, quality, consume=consume))
            elif picture.pixels.nbytes < _IN_MEMORY or not nameable(partial):
                partial.write_bytes(_encode(fitted, form, quality))
            else:
                write_directly(fitted, partial, form, quality, consume=consume)
    except OSError as error:
        with about(path):
            reason = error.strerror or error
            raise PictureError(f"the result cannot be written: {reason}") from error
    return notes


def encode(picture: Picture, suffix: str, *, quality: int = 95) -> bytes:
    """A file's content.

    Args:
        picture: what to write.
        suffix: a key of ``FORMATS``, in any case.
        quality: 1 to 100, for JPEG (always 4:4:4), WebP and AVIF (4:2:0 below 100); a WebP or an
            AVIF of 100 is lossless.

    PNG, TIFF and BMP are lossless. GIF takes 256 colours a frame, and AVIF keeps 12 bits of 16.
    WebP has no gray: it is written, and read back, as RGB, and a gray image's colour profile is
    left out, as is what else the format cannot hold of the metadata.

    Raises:
        PictureError: the format cannot hold the image's depth, alpha or size.
        ValueError: an unknown suffix, or a quality out of range.
    """
    form = _form(picture, suffix, quality)
    metadata, _ = fitting(picture.metadata, form, gray=picture.pixels.ndim == 2)
    return _encode(replace(picture, metadata=metadata), form, quality)


def require_holding(picture: Picture, suffix: str) -> None:
    """Refuse an image that a format cannot hold.

    Raises:
        PictureError: its depth, alpha, size or number of frames is not for that format.
        ValueError: an unknown suffix.
    """
    _form(picture, suffix, 100)


def _form(picture: Picture, suffix: str, quality: int) -> str:
    """The format that a suffix stands for, if it can hold such an image."""
    if suffix.lower() not in FORMATS:
        raise ValueError(f"{suffix!r} is not one of {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it goes from 1 to 100")
    form = FORMATS[suffix.lower()]
    _refuse_loss(picture, form)
    return form


def _coarsened(pixels: Pixels, form: str) -> Iterator[str]:
    """Notes on samples that a format keeps less exactly."""
    if form == "avif" and pixels.dtype == np.uint16:
        yield "16 bits became 12"
    if form == "gif":
        yield "colours reduced to a palette of 256 a frame"
    if form == "gif" and _has_alpha(pixels):
        yield "transparency became all or nothing"


def _encode(picture: Picture, form: str, quality: int, *, consume: bool = False) -> bytes:
    if form == "gif" or picture.animation:
        return encode_frames(picture, form, quality, consume=consume)
    if form == "tiff":
        stream = io.BytesIO()
        _stream_tiff(stream, picture)
        return stream.getvalue()
    data = encode_in_memory(picture, form, quality)
    return completed(form, data[:HEAD], picture.metadata) + data[HEAD:]


def _stream_tiff(file: BinaryIO, picture: Picture) -> None:
    pixels = picture.pixels
    with TiffWriter(file, pixels.shape, pixels.dtype, picture.metadata) as writer:
        for top in range(0, len(pixels), TILE):
            writer.write(pixels[top : top + TILE])
            release(pixels)


def _refuse_loss(picture: Picture, form: str) -> None:
    pixels, name = picture.pixels, _NAMES[form]
    height, width = picture.frames[0].shape[:2]
    if picture.animation and form not in _MOVING:
        count = len(picture.animation.durations)
        raise PictureError(f"it has {count} frames, and {name} holds one: use GIF or WebP")
    if pixels.dtype == np.uint16 and form in _EIGHT_BIT:
        raise PictureError(f"it has 16 bits a sample, and {name} holds 8: use PNG or TIFF")
    if form == "jpeg" and _has_alpha(pixels):
        raise PictureError(
            "it has transparency, and JPEG holds none: use PNG, WebP, AVIF or TIFF, or name what "
            "lies behind it with --background"
        )
    if form == "bmp" and pixels.nbytes > _LARGEST_BMP:
        raise PictureError("the result is over 2 GB, and BMP holds less: use PNG or TIFF")
    if form == "avif" and height * width > _MOST_AVIF:
        raise PictureError(
            f"the result has {width}x{height} pixels, and at most {_MOST_AVIF:,} can be read back "
            "from an AVIF: use PNG or TIFF"
        )
    longest = _LONGEST.get(form)
    if longest is not None and max(height, width) > longest:
        raise PictureError(
            f"the result has {width}x{height} pixels, and {name} holds at most {longest} a side: "
            f"use {'TIFF' if form == 'png' else 'PNG or TIFF'}"
        )


def _has_alpha(pixels: Pixels) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] == 4
