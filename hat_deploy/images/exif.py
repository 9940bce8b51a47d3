"""An EXIF block changed in place, so that what points into it (maker notes) still fits.

A block is damaged that no two readers would take for the same: where its directories lie over
each other or over the header, nothing can be changed without breaking something else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Density, Pixels
from hat_deploy.images.tags import (
    EXIF_DIRECTORY,
    GPS_DIRECTORY,
    INTEROP_DIRECTORY,
    ORIENTATION,
    RESOLUTIONS,
    SIZES,
    Tag,
    TagFile,
    density_of,
)

_WIDTHS, _HEIGHTS = (256, 40962), (257, 40963)
"""ImageWidth and ExifImageWidth (PixelXDimension), and the same for heights."""

_THUMBNAILS = ((513, 514), (273, 279))
"""Where a thumbnail starts and how long it is: as JPEG, as one strip."""

_POINTERS = {EXIF_DIRECTORY: (INTEROP_DIRECTORY,), GPS_DIRECTORY: ()}
"""The tags of the first directory that point to one, and the tags in there that do."""


@dataclass(frozen=True)
class _Outline:
    """Where the parts of a sound block lie."""

    block: TagFile
    following: int
    """The offset of the thumbnail's directory, or 0."""
    described: list[tuple[int, Tag]]
    """The tags of the first and of the EXIF directory, in the order of the file."""
    link: int
    """Where ``following`` is written."""
    fixed: list[tuple[int, int]]
    """Start and end of the header and of each directory."""
    values: list[tuple[int, int]]
    """Start and end of the values that lie outside the directories."""

    def require_clear(self, start: int, end: int) -> None:
        """Refuse a place that lies over the header or a directory."""
        if _overlap(self.fixed, start, end):
            raise PictureError("its EXIF is damaged: a value lies over a directory")


def upright_exif(exif: bytes | None) -> tuple[bytes | None, int]:
    """The block with its orientation set to 1 and without its thumbnail, and what it had.

    A block that is damaged is dropped; what it says of the orientation counts if it can be read.

    Returns:
        The block or None, and an orientation from 1 to 8 (1 if none, or none with a meaning).
    """
    if exif is None:
        return None, 1
    orientation = _orientation(exif)
    try:
        outline = _outline(exif)
        upright = bytearray(exif)
        _set_upright(upright, outline)
        if outline.following:
            _drop_thumbnail(upright, outline)
        _outline(bytes(upright))
    except (PictureError, struct.error):
        return None, orientation
    return bytes(upright), orientation


def is_sound(exif: bytes) -> bool:
    """Whether a block's directories can be read and are apart from each other."""
    try:
        _outline(exif)
    except (PictureError, struct.error):
        return False
    return True


def resized_exif(exif: bytes, *, size: tuple[int, int], scale: int) -> bytes:
    """The block with the dimensions it states set, and the resolution it states multiplied.

    Args:
        exif: a block that :func:`upright_exif` has returned; a damaged one comes back as it is.
        size: height and width of the picture it will describe.
        scale: how many pixels there are now where there was one.
    """
    try:
        outline = _outline(exif)
    except (PictureError, struct.error):
        return exif
    order = outline.block.order
    result = bytearray(exif)
    multiplied: set[int] = set()
    for number, tag in outline.described:
        if number in _WIDTHS + _HEIGHTS and tag.count == 1:
            # As a LONG, whatever it was: a SHORT ends at 65,535.
            value = size[number in _WIDTHS]
            struct.pack_into(order + "HII", result, tag.entry + 2, 4, 1, value)
        elif number in RESOLUTIONS and scale != 1 and tag.at not in multiplied:
            _multiply(result, order, tag, scale)
            multiplied.add(tag.at)  # some writers store both resolutions in one place
    return bytes(result)


def exif_density(exif: bytes | None) -> Density | None:
    """The resolution that a block states that :func:`upright_exif` has returned."""
    if exif is None:
        return None
    block = TagFile(exif)
    return density_of(block, block.directory(block.first)[0])


def _outline(exif: bytes) -> _Outline:
    """The parts of a block.

    Raises:
        PictureError: a directory cannot be read, or lies over another or over the header; or a
            resolution does.
        struct.error: a number passes the end.
    """
    block = TagFile(exif)
    if block.unpack("H", 2) != 42:
        raise PictureError("its EXIF is damaged: it has no TIFF header")
    fixed, values = [(0, 8)], []

    def enter(at: int) -> tuple[list[tuple[int, Tag]], int]:
        entries, following = block.entries(at)
        end = at + 6 + 12 * len(entries)
        if _overlap(fixed, at, end):
            raise PictureError("its EXIF is damaged: a directory lies over another")
        fixed.append((at, end))
        for _, tag in entries:
            size = SIZES.get(tag.kind, 1) * tag.count
            if size > 4:
                values.append((tag.at, tag.at + size))
        return entries, following

    described, following = enter(block.first)
    link = fixed[-1][1] - 4
    for pointer, inner in _POINTERS.items():
        for number, tag in list(described):
            if number == pointer:
                entries, _ = enter(block.number(tag))
                if pointer == EXIF_DIRECTORY:
                    described = described + entries
                for deeper, place in entries:
                    if deeper in inner:
                        enter(block.number(place))
    outline = _Outline(block, following, described, link, fixed, values)
    for number, tag in described:
        if number in RESOLUTIONS and (tag.kind, tag.count) == (5, 1):
            outline.require_clear(tag.at, tag.at + 8)
    return outline


def _overlap(places: list[tuple[int, int]], start: int, end: int) -> bool:
    return any(start < other_end and other < end for other, other_end in places)


def _orientation(exif: bytes) -> int:
    """What the first directory says; 1 if that cannot be read, or has no meaning."""
    try:
        block = TagFile(exif)
        orientation = block.number(block.directory(block.first)[0][ORIENTATION])
    except (KeyError, PictureError, struct.error):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _set_upright(upright: bytearray, outline: _Outline) -> None:
    """Set every orientation of the first directory to 1."""
    for number, tag in outline.block.entries(outline.block.first)[0]:
        if number == ORIENTATION:
            # As one SHORT, whatever it was: a list would lie elsewhere, anywhere.
            struct.pack_into(outline.block.order + "HIHH", upright, tag.entry + 2, 3, 1, 1, 0)


def _drop_thumbnail(upright: bytearray, outline: _Outline) -> None:
    """Unlink the second directory; overwrite the thumbnail, or cut it off where it comes last.

    Raises:
        PictureError: the thumbnail lies over a directory.
    """
    block = outline.block
    struct.pack_into(block.order + "I", upright, outline.link, 0)
    for first, end in _thumbnails(outline):
        outline.require_clear(first, end)
        end = min(end, len(upright))  # another, over this one, may have been cut off
        last = end >= len(upright) - 1 and not _overlap(outline.values, first, end)
        upright[first:end] = b"" if last else bytes(end - first)


def _thumbnails(outline: _Outline) -> list[tuple[int, int]]:
    """Start and end of the thumbnail, in each of the ways it may be stored; the last one first."""
    block, found = outline.block, []
    try:
        second, _ = block.directory(outline.following)
    except (PictureError, struct.error):
        return []  # what is unlinked and cannot be read needs no removing
    for start, length in _THUMBNAILS:
        try:
            first = block.number(second[start])
            end = min(first + block.number(second[length]), len(block.data))
        except (KeyError, PictureError, struct.error):
            continue
        if first < end:
            found.append((first, end))
    return sorted(found, reverse=True)


def _multiply(block: bytearray, order: str, tag: Tag, factor: int) -> None:
    """A rational made ``factor`` times as large, in its numerator or, at its end, divisor."""
    if tag.kind != 5 or tag.count != 1 or tag.at + 8 > len(block):
        return
    above, below = struct.unpack_from(order + "II", block, tag.at)
    if above * factor < 2**32:
        above *= factor
    elif below >= factor:
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
