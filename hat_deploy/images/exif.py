"""An EXIF block changed in place, so that what points into it (maker notes) still fits."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Density, Pixels
from hat_deploy.images.tags import (
    EXIF_DIRECTORY,
    NUMBERS,
    ORIENTATION,
    RESOLUTIONS,
    Directory,
    Tag,
    TagFile,
    density_of,
)

_WIDTHS, _HEIGHTS = (256, 40962), (257, 40963)
"""ImageWidth and ExifImageWidth (PixelXDimension), and the same for heights."""

_THUMBNAILS = ((513, 514), (273, 279))
"""Where a thumbnail starts and how long it is: as JPEG, as one strip."""


def upright_exif(exif: bytes | None) -> tuple[bytes | None, int]:
    """The block with its orientation set to 1 and without its thumbnail, and what it had.

    A block that cannot be parsed is dropped: nobody could say how it wants to be turned.

    Returns:
        The block or None, and an orientation from 1 to 8 (1 if none, or none with a meaning).
    """
    if exif is None:
        return None, 1
    try:
        block = TagFile(exif)
        if block.big:
            return None, 1
        tags, following = block.directory(block.first)
        tag = tags.get(ORIENTATION)
        orientation = 1 if tag is None else block.number(tag)
    except (PictureError, struct.error):
        return None, 1
    upright = bytearray(exif)
    if tag is not None and orientation != 1:
        struct.pack_into(block.order + NUMBERS[tag.kind], upright, tag.at, 1)
    if following:
        _drop_thumbnail(upright, block, following)
    return bytes(upright), orientation if 1 <= orientation <= 8 else 1


def _drop_thumbnail(upright: bytearray, block: TagFile, at: int) -> None:
    """Unlink the second directory; overwrite the thumbnail, or cut it off where it comes last."""
    entries = struct.unpack_from(block.order + "H", upright, block.first)[0]
    link = block.first + 2 + 12 * entries
    struct.pack_into(block.order + "I", upright, link, 0)
    try:
        second, _ = block.directory(at)
        for start, length in _THUMBNAILS:
            if start in second and length in second:
                first = block.number(second[start])
                end = min(first + block.number(second[length]), len(upright))
                upright[first:end] = b"" if end >= len(upright) - 1 else bytes(end - first)
    except (PictureError, struct.error):
        return  # what is unlinked and cannot be read needs no removing


def resized_exif(exif: bytes, *, size: tuple[int, int], scale: int) -> bytes:
    """The block with the dimensions it states set, and the resolution it states multiplied.

    Args:
        exif: a block that :func:`upright_exif` has accepted.
        size: height and width of the picture it will describe.
        scale: how many pixels there are now where there was one.
    """
    block = TagFile(exif)
    result = bytearray(exif)
    for tags in _directories(block):
        for number, tag in tags.items():
            if number in _WIDTHS + _HEIGHTS and tag.count == 1:
                # As a LONG, whatever it was: a SHORT ends at 65,535.
                value = size[number in _WIDTHS]
                struct.pack_into(block.order + "HII", result, tag.entry + 2, 4, 1, value)
            elif number in RESOLUTIONS and scale != 1:
                _multiply(result, block.order, tag, scale)
    return bytes(result)


def exif_density(exif: bytes | None) -> Density | None:
    """The resolution that a block accepted by :func:`upright_exif` states."""
    if exif is None:
        return None
    block = TagFile(exif)
    return density_of(block, block.directory(block.first)[0])


def _directories(block: TagFile) -> Iterator[Directory]:
    """The first directory, and the EXIF directory it points to where that can be read."""
    tags, _ = block.directory(block.first)
    yield tags
    try:
        if EXIF_DIRECTORY in tags:
            yield block.directory(block.number(tags[EXIF_DIRECTORY]))[0]
    except (PictureError, struct.error):
        return


def _multiply(block: bytearray, order: str, tag: Tag, factor: int) -> None:
    """A rational made ``factor`` times as large, in its numerator or, at its end, divisor."""
    if tag.kind != 5 or tag.count != 1 or tag.at + 8 > len(block):
        return
    above, below = struct.unpack_from(order + "II", block, tag.at)
    if above * factor < 2**32:
        above *= factor
    else:
        below //= factor
    struct.pack_into(order + "II", block, tag.at, above, below)


def oriented(pixels: Pixels, orientation: int) -> Pixels:
    """Upright pixels, by the meaning that EXIF 2.3 gives to orientations 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
