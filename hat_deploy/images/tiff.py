"""What a TIFF file says of itself, which kinds are refused, and what OpenCV leaves undone."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.images.headers import Content, Header
from hat_deploy.images.opencv import bands
from hat_deploy.images.picture import Pixels
from hat_deploy.images.tags import (
    EXTRA_SAMPLES,
    ICC,
    NUMBERS,
    XMP,
    Directory,
    TagFile,
    density_of,
)
from hat_deploy.images.trees import exif_of, shot_tags

_PHOTOMETRIC = {
    0: "inverted gray",
    1: "gray",
    2: "RGB",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
    8: "L*a*b*",
    9: "L*a*b*",
}


def inspect_tiff(data: Content) -> Header:
    """The header of a TIFF or BigTIFF: its first page, and how many pages are frames.

    Raises:
        PictureError: its directories are damaged, or its samples are of a refused kind.
    """
    file = TagFile(data)
    pages = file.directories()
    page = next(pages, None)
    if page is None:
        raise PictureError("the file is damaged: it is a TIFF without an image")

    def number(tags: Directory, name: int, default: int) -> int:
        return file.number(tags[name]) if name in tags else default

    # Bits 0 and 2 of tag 254 mark thumbnails and masks, which are no frames of their own.
    frames = sum(not number(tags, 254, 0) & 5 for tags in pages) + 1
    kind, bits = number(page, 262, -1), number(page, 258, 1)
    samples, extra = number(page, 277, 1), number(page, EXTRA_SAMPLES, 0)
    _refuse_tiff(kind, bits, samples, number(page, 339, 1))
    alpha = kind == 2 and samples == 4
    width, height = number(page, 256, 0), number(page, 257, 0)
    patched = None
    if alpha and extra == 2:
        # libtiff would multiply 8-bit colours by their alpha; not if they are said to be so.
        tag = page[EXTRA_SAMPLES]
        value = struct.pack(file.order + NUMBERS[tag.kind], 1)
        patched = bytearray(data)
        patched[tag.at : tag.at + len(value)] = value
    _refuse_tiles(number(page, 322, 0), number(page, 323, 0), width, height)
    return Header(
        width=width,
        height=height,
        frames=frames,
        notes=_tiff_notes(kind, bits, premultiplied=alpha and extra == 1),
        icc=file.block(page.get(ICC)),
        xmp=file.block(page.get(XMP)),
        exif=exif_of(shot_tags(file, page)),
        density=density_of(file, page),
        patched=patched,
        fix=_tiff_fix(kind, bits, premultiplied=alpha and extra == 1),
    )


def _refuse_tiff(kind: int, bits: int, samples: int, sample_format: int) -> None:
    colour = _PHOTOMETRIC.get(kind)
    if colour is None:
        raise PictureError(f"it is a TIFF of colour kind {kind}, such as raw sensor data")
    if sample_format not in (1, 4):
        raise PictureError("it is a TIFF of signed or floating-point samples: convert it to 16-bit")
    deep = bits == 16 and kind in (0, 1, 2)
    if not deep and bits not in (1, 4, 8):
        raise PictureError(f"it is a TIFF of {bits}-bit {colour}: convert it to 8 or 16-bit RGB")
    permitted = {0: (1,), 1: (1,), 2: (3, 4), 3: (1,), 5: (4,)}.get(kind, (3,))
    if samples not in permitted:
        raise PictureError(f"it is a TIFF of {colour} with {samples} samples: convert it to RGB(A)")


def _refuse_tiles(across: int, down: int, width: int, height: int) -> None:
    """Refuse tiles that would take more memory than the size of the image justifies."""
    if across > width + 4096 or down > height + 4096:
        raise PictureError(f"the file is damaged: {across}x{down} tiles of {width}x{height} pixels")


def _tiff_notes(kind: int, bits: int, *, premultiplied: bool) -> tuple[str, ...]:
    notes = []
    if kind in (5, 8, 9):
        notes.append(f"{_PHOTOMETRIC[kind]} converted to RGB")
    if kind == 3:
        notes.append("palette expanded to RGB")
    if kind in (0, 1) and bits < 8:
        notes.append(f"{bits}-bit gray became 8-bit")
    if premultiplied:
        notes.append("premultiplied alpha became straight")
    return tuple(notes)


def _tiff_fix(kind: int, bits: int, *, premultiplied: bool) -> Callable[[Pixels], Pixels] | None:
    if kind == 0 and bits == 16:
        return lambda pixels: np.invert(pixels, out=pixels)
    if kind == 5:
        return lambda pixels: pixels[..., :3]
    return _straight if premultiplied else None


def _straight(pixels: Pixels) -> Pixels:
    """Colours divided by their alpha, in place; where that is zero they stay as they are."""
    limit = int(np.iinfo(pixels.dtype).max)
    for rows in bands(pixels):
        band = pixels[rows]
        alpha = np.maximum(band[..., 3:], 1).astype(np.uint32)
        colours = np.minimum((band[..., :3] * np.uint32(limit) + alpha // 2) // alpha, limit)
        np.copyto(band[..., :3], colours.astype(pixels.dtype), where=band[..., 3:] != 0)
    return pixels
