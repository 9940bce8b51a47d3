"""An EXIF block changed in place, so that what points into it (maker notes) still fits.

What is damaged is left out: a directory that lies over another or over the header, a value past
the end, at which some readers stop. So whatever is changed, nothing else changes with it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

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

_INNER = {0: (EXIF_DIRECTORY, GPS_DIRECTORY), EXIF_DIRECTORY: (INTEROP_DIRECTORY,)}
"""The tags that point to further directories, by the directory (0: the first) they are in."""

_UNREADABLE = (PictureError, struct.error)


@dataclass(frozen=True)
class _Part:
    """One directory of a block."""

    name: int
    """The tag that points to it; 0 for the first."""
    at: int
    end: int
    entries: list[tuple[int, Tag]]
    following: int
    """The offset of the next one, of the first the thumbnail's; 0 if none."""


@dataclass(frozen=True)
class _Outline:
    """Where the parts of a block lie."""

    block: TagFile
    parts: list[_Part]
    """The first directory and those it leads to, apart from each other and from the header."""
    broken: set[int]
    """Where the entries lie that lead to anything else."""

    @property
    def described(self) -> Iterator[tuple[int, Tag]]:
        """The tags that tell of the image: the first directory's and the EXIF directory's."""
        for part in self.parts:
            if part.name in (0, EXIF_DIRECTORY):
                yield from part.entries

    def is_clear(self, start: int, end: int) -> bool:
        """Whether a place overlaps neither the header nor a directory."""
        return start >= 8 and all(end <= part.at or part.end <= start for part in self.parts)

    def holds_values(self, start: int, end: int) -> bool:
        """Whether the value of a tag lies at a place."""
        tags = [tag for part in self.parts for _, tag in part.entries]
        return any(tag.at < end and start < tag.at + _size(tag) for tag in tags)


def upright_exif(exif: bytes) -> tuple[bytes | None, int]:
    """The block with its orientation set to 1, without its thumbnail and what is damaged.

    Returns:
        The block, or None if nothing of it can be read; and an orientation from 1 to 8 (1 if
        none, or none with a meaning).
    """
    try:
        whole = without_damage(exif)
        outline = _outline(whole)
    except _UNREADABLE:
        return None, 1
    upright = bytearray(whole)
    orientation = _set_upright(upright, outline)
    _drop_thumbnail(upright, outline)
    return bytes(upright), orientation if 1 <= orientation <= 8 else 1


def without_damage(exif: bytes) -> bytes:
    """The block without the entries that point nowhere, or into another part.

    Raises:
        PictureError: it has no first directory.
        struct.error: a number passes the end.
    """
    outline = _outline(exif)
    if not outline.broken:
        return exif
    whole = bytearray(exif)
    order = outline.block.order
    for part in outline.parts:
        sound = [tag.entry for _, tag in part.entries if tag.entry not in outline.broken]
        kept = b"".join(exif[entry : entry + 12] for entry in sound)
        body = (
            struct.pack(order + "H", len(sound)) + kept + struct.pack(order + "I", part.following)
        )
        whole[part.at : part.end] = body.ljust(part.end - part.at, b"\0")
    return bytes(whole)


def is_sound(exif: bytes) -> bool:
    """Whether all of a block can be read."""
    try:
        return not _outline(exif).broken
    except _UNREADABLE:
        return False


def resized_exif(exif: bytes, *, size: tuple[int, int], scale: Fraction) -> bytes:
    """The block with the dimensions it states set, and the resolution it states multiplied.

    Args:
        exif: a block that :func:`upright_exif` has returned; a damaged one comes back as it is.
        size: height and width of the image it will describe.
        scale: how many pixels there are now where there was one.
    """
    if not is_sound(exif):
        return exif
    outline = _outline(exif)
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
        PictureError: it has no TIFF header, or no first directory.
        struct.error: a number passes the end.
    """
    block = TagFile(exif)
    if block.unpack("H", 2) != 42:
        raise PictureError("its EXIF has no TIFF header")
    outline = _Outline(block, [], set())
    _enter(outline, 0, block.first)
    for number, tag in outline.described:
        rational = (tag.kind, tag.count) == (5, 1) and outline.is_clear(tag.at, tag.at + 8)
        if number in RESOLUTIONS and not rational:
            outline.broken.add(tag.entry)
    return outline


def _enter(outline: _Outline, name: int, at: int) -> None:
    """Add a directory to an outline, and those it leads to."""
    block = outline.block
    entries, following = block.entries(at)
    end = at + 6 + 12 * len(entries)
    if not outline.is_clear(at, end):
        raise PictureError("its EXIF is damaged: a directory lies over another")
    outline.parts.append(_Part(name, at, end, entries, following))
    for number, tag in entries:
        try:
            if tag.kind not in SIZES or (_size(tag) > 4 and tag.at + _size(tag) > len(block.data)):
                raise PictureError("its EXIF is damaged: a value passes its end")
            if number in _INNER.get(name, ()):
                _enter(outline, number, block.number(tag))
        except _UNREADABLE:
            outline.broken.add(tag.entry)


def _size(tag: Tag) -> int:
    """The bytes of a tag's value."""
    return SIZES.get(tag.kind, 1) * tag.count


def _set_upright(upright: bytearray, outline: _Outline) -> int:
    """Set every orientation of the first directory to 1; what the first was, 1 if none."""
    found = 1
    for number, tag in reversed(outline.parts[0].entries):
        if number == ORIENTATION:
            try:
                found = outline.block.number(tag)
            except _UNREADABLE:
                found = 1
            # As one SHORT, whatever it was: a list would lie elsewhere, anywhere.
            struct.pack_into(outline.block.order + "HIHH", upright, tag.entry + 2, 3, 1, 1, 0)
    return found


def _drop_thumbnail(upright: bytearray, outline: _Outline) -> None:
    """Unlink the second directory; overwrite the thumbnail, or cut it off where it comes last."""
    first = outline.parts[0]
    struct.pack_into(outline.block.order + "I", upright, first.end - 4, 0)
    for start, length in _thumbnails(outline.block, first.following):
        end = min(start + length, len(upright))
        if start >= end or not outline.is_clear(start, end):
            continue  # no thumbnail, whatever it is
        last = end >= len(upright) - 1 and not outline.holds_values(start, end)
        upright[start:end] = b"" if last else bytes(end - start)


def _thumbnails(block: TagFile, at: int) -> list[tuple[int, int]]:
    """Start and length of the thumbnail in each of the ways it may be stored; the last one first.

    What cannot be read is left out: once unlinked, it needs no removing.
    """
    found = []
    try:
        second = block.directory(at)[0] if at else {}
    except _UNREADABLE:
        return []
    for start, length in _THUMBNAILS:
        try:
            found.append((block.number(second[start]), block.number(second[length])))
        except (KeyError, *_UNREADABLE):
            continue
    return sorted(found, reverse=True)


def _multiply(block: bytearray, order: str, tag: Tag, factor: Fraction) -> None:
    """A rational made ``factor`` times as large, as near as two numbers of 32 bits can be."""
    above, below = struct.unpack_from(order + "II", block, tag.at)
    if factor.denominator == 1 and above * factor < 2**32:
        above *= factor.numerator
    elif below:
        product = Fraction(above, below) * factor
        if product >= 2**32:
            return
        limited = product.limit_denominator(max(1, (2**32 - 1) // max(1, math.ceil(product))))
        above, below = limited.numerator, limited.denominator
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
