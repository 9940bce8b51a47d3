"""Directories of numbered tags: the structure that TIFF, BigTIFF and EXIF share."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Density

ORIENTATION = 274
RESOLUTIONS = (282, 283)
RESOLUTION_UNIT = 296
EXTRA_SAMPLES = 338
XMP = 700
ICC = 34675
EXIF_DIRECTORY = 34665
GPS_DIRECTORY = 34853
INTEROP_DIRECTORY = 40965

NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""How ``struct`` writes the types that are unsigned whole numbers."""

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}
"""Bytes of one value of each type."""

_MOST_DIRECTORIES = 256
_MOST_ENTRIES = 4096
_MOST_ENTRIES_IN_ALL = 16 * _MOST_ENTRIES


@dataclass(frozen=True)
class Tag:
    """One entry of a directory."""

    kind: int
    """The type of its values, by TIFF's numbers."""
    count: int
    """How many values it has."""
    entry: int
    """Where its directory entry lies in the file."""
    at: int
    """Where its value lies in the file."""


Directory = dict[int, Tag]
"""Tags by number."""


class TagFile:
    """The directories of a TIFF, a BigTIFF or an EXIF block."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        if data[:2] not in (b"II", b"MM"):
            raise PictureError("it has no TIFF byte-order mark")
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = struct.unpack_from(self.order + "H", data, 2)[0] == 43
        self.first: int = self.unpack("Q", 8) if self.big else self.unpack("I", 4)

    def unpack(self, code: str, at: int) -> int:
        """The number at an offset, by one of the codes of ``struct``."""
        if at >= len(self.data):
            raise PictureError("the file is truncated or damaged: an offset passes its end")
        return int(struct.unpack_from(self.order + code, self.data, at)[0])

    def directory(self, at: int) -> tuple[Directory, int]:
        """The tags of the directory at an offset, and the next one's offset (0: none)."""
        entries, following = self.entries(at)
        return dict(entries), following

    def entries(self, at: int) -> tuple[list[tuple[int, Tag]], int]:
        """:meth:`directory` with tags in the order of the file, one that comes twice included."""
        count, width, value = ("Q", 20, 8) if self.big else ("H", 12, 4)
        start = at + struct.calcsize(self.order + count)
        entries = self.unpack(count, at)
        end = start + width * entries
        if entries > _MOST_ENTRIES or end > len(self.data):
            raise PictureError("the file is truncated or damaged: a directory passes its end")
        tags: list[tuple[int, Tag]] = []
        for entry in range(start, end, width):
            code = self.order + ("HHQ" if self.big else "HHI")
            number, kind, amount = struct.unpack_from(code, self.data, entry)
            place = entry + width - value
            if SIZES.get(kind, 1) * amount > value:
                place = self.unpack("Q" if self.big else "I", place)
            tags.append((number, Tag(kind, amount, entry, place)))
        return tags, self.unpack("Q" if self.big else "I", end)

    def directories(self) -> Iterator[Directory]:
        """All directories of the chain, up to a bound.

        Raises:
            PictureError: one cannot be read, they come round to one of them, or they are many.
        """
        at, seen, left = self.first, set[int](), _MOST_ENTRIES_IN_ALL
        for _ in range(_MOST_DIRECTORIES):
            if not at:
                return
            if at in seen:
                raise PictureError("the file is damaged: its directories form a circle")
            seen.add(at)
            tags, at = self.directory(at)
            left -= len(tags)
            if left < 0:
                raise PictureError(f"it has over {_MOST_ENTRIES_IN_ALL} tags: it is damaged")
            yield tags
        raise PictureError(f"it has over {_MOST_DIRECTORIES} frames; animations are not supported")

    def number(self, tag: Tag) -> int:
        """The first value of a tag."""
        if tag.kind not in NUMBERS or tag.count < 1:
            raise PictureError("the file is damaged: a tag that should be a number is not one")
        return self.unpack(NUMBERS[tag.kind], tag.at)

    def block(self, tag: Tag | None) -> bytes | None:
        """The bytes of a tag, if it is there."""
        return None if tag is None else self.data[tag.at : tag.at + tag.count] or None


def density_of(file: TagFile, tags: Directory) -> Density | None:
    """The resolution that a directory states, if it has one with a unit."""
    tag = tags.get(RESOLUTION_UNIT)
    try:
        unit = 2 if tag is None else file.number(tag)
    except (PictureError, struct.error):
        return None
    values = []
    for number in RESOLUTIONS:
        tag = tags.get(number)
        if tag is None or tag.kind != 5 or tag.at + 8 > len(file.data):
            return None
        above, below = struct.unpack_from(file.order + "II", file.data, tag.at)
        values.append(above / below if below else 0.0)
    return density(*values, per_inch={2: 1.0, 3: 2.54}.get(unit, 0.0))


def density(x: float, y: float, *, per_inch: float) -> Density | None:
    """A resolution in some unit, of which there are ``per_inch``; None if it means nothing."""
    x, y = x * per_inch, y * per_inch
    return Density(x, y) if 1 <= x <= 100_000 and 1 <= y <= 100_000 else None


def density_per_metre(x: int, y: int) -> Density | None:
    """A resolution in whole pixels to the metre; a whole number to the inch was meant, if any."""
    inches = [round(value * 0.0254) for value in (x, y)]
    return density(
        *(
            whole if round(whole / 0.0254) == value else value * 0.0254
            for whole, value in zip(inches, (x, y), strict=True)
        ),
        per_inch=1,
    )
