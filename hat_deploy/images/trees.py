"""Directories of tags taken out of one file and laid out in another.

A TIFF's first directory is its EXIF: cameras' tags and the tags of the pixels side by side. To
move EXIF between TIFF and the other formats, the tags that speak of the shot are copied.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.images.tags import (
    EXIF_DIRECTORY,
    GPS_DIRECTORY,
    INTEROP_DIRECTORY,
    RESOLUTION_UNIT,
    RESOLUTIONS,
    SIZES,
    Directory,
    Tag,
    TagFile,
)

_POINTERS = (EXIF_DIRECTORY, GPS_DIRECTORY, INTEROP_DIRECTORY)
_DESCRIPTION = 270
_OF_THE_SHOT = {_DESCRIPTION, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, EXIF_DIRECTORY}
_OF_THE_SHOT |= {GPS_DIRECTORY, *range(40091, 40096), *RESOLUTIONS, RESOLUTION_UNIT}
"""Description, make, model, software, date, artist, host, ratings, copyright, Windows' titles."""

_OF_A_STACK = (b'{"shape"', b"ImageJ=", b"<?xml", b"<OME")
"""How descriptions start that give the shape of a scientific stack: no longer true."""


@dataclass(frozen=True)
class Value:
    """One tag's values."""

    kind: int
    """Their type, by TIFF's numbers."""
    data: bytes
    """They themselves, little-endian."""


Tree = Mapping[int, "Value | Tree"]
"""Tags by number; a tag that points to a directory has that directory's tags."""


def numbers(kind: int, *values: int) -> Value:
    """A value of type SHORT (3), LONG (4), RATIONAL (5, pairs) or LONG8 (16)."""
    code = {3: "H", 4: "I", 5: "I", 16: "Q"}[kind]
    return Value(kind, struct.pack(f"<{len(values)}{code}", *values))


def shot_tags(file: TagFile, tags: Directory) -> Tree:
    """What a first directory says of the shot, and not of how its pixels are stored.

    What cannot be read, and what comes after 16 MiB, is left out.
    """
    copier = _Copier(file)
    tree = copier.copy({number: tag for number, tag in tags.items() if number in _OF_THE_SHOT})
    description = tree.get(_DESCRIPTION)
    if isinstance(description, Value) and description.data.startswith(_OF_A_STACK):
        return {number: value for number, value in tree.items() if number != _DESCRIPTION}
    return tree


class _Copier:
    """Copies directories; many tags that share their bytes must not fill the memory."""

    def __init__(self, file: TagFile) -> None:
        self.file = file
        self.left = 2**24

    def copy(self, tags: Directory, depth: int = 0) -> Tree:
        tree: dict[int, Value | Tree] = {}
        for number, tag in tags.items():
            try:
                if number not in _POINTERS:
                    value = self._value(tag)
                    if value is not None:
                        tree[number] = value
                elif depth < 2:
                    inner, _ = self.file.directory(self.file.number(tag))
                    tree[number] = self.copy(inner, depth + 1)
            except (PictureError, struct.error):
                continue
        return tree

    def _value(self, tag: Tag) -> Value | None:
        size = SIZES.get(tag.kind, 0) * tag.count
        if not 0 < size <= self.left or tag.at + size > len(self.file.data):
            return None
        self.left -= size
        raw = self.file.data[tag.at : tag.at + size]
        return Value(tag.kind, raw if self.file.order == "<" else _swapped(tag.kind, raw))


def _swapped(kind: int, raw: bytes) -> bytes:
    word = SIZES[kind] // (2 if kind in (5, 10) else 1)
    return raw if word == 1 else np.frombuffer(raw, f"u{word}").byteswap().tobytes()


def exif_of(tree: Tree) -> bytes | None:
    """A tree as an EXIF block; None if there is nothing to tell."""
    if not tree.keys() - {*RESOLUTIONS, RESOLUTION_UNIT}:
        return None
    return b"II*\0" + struct.pack("<I", 8) + lay_out(tree, 8)


def lay_out(tree: Tree, at: int, *, big: bool = False) -> bytes:
    """A directory, what it points to behind it, as it has to lie at an even offset of a file.

    Args:
        tree: its tags; the directory is the last of its chain.
        at: the offset.
        big: as in a BigTIFF.
    """
    head, entry, word, pointer = ("<Q", "<HHQ", "<Q", 16) if big else ("<H", "<HHI", "<I", 4)
    width = struct.calcsize(word)
    behind_at = at + struct.calcsize(head) + len(tree) * (struct.calcsize(entry) + width) + width
    entries, behind = [struct.pack(head, len(tree))], bytearray()
    for number, value in sorted(tree.items(), key=lambda item: item[0]):
        place = behind_at + len(behind)
        if isinstance(value, Value):
            kind, amount, data = value.kind, len(value.data) // SIZES[value.kind], value.data
        else:
            kind, amount, data = pointer, 1, lay_out(value, place, big=big)
        if len(data) > width or not isinstance(value, Value):
            behind += data + b"\0" * (len(data) % 2)
            data = struct.pack(word, place)
        entries.append(struct.pack(entry, number, kind, amount) + data.ljust(width, b"\0"))
    return b"".join(entries) + bytes(width) + bytes(behind)
