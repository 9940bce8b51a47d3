"""What a JPEG says of itself."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from hat_deploy.errors import PictureError
from hat_deploy.images.headers import Content, Header
from hat_deploy.images.picture import Density
from hat_deploy.images.tags import density

_MARKER = re.compile(rb"\xff[^\xff]")
"""The last of any number of fill bytes, and the marker; there is nothing to go back over."""
_ENDING = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker that ends the coded pixels of a scan, or is none."""
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_BETWEEN_SCANS = {0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_RESTARTS = bytes(range(0xD0, 0xD8))
_MOST_SEGMENTS = 10_000
_MOST_SCANS = 100
"""Progressive files have about ten; each costs a pass over the whole image."""

_PASSED_OVER = {
    b"http://ns.adobe.com/xmp/extension/\0": "the XMP's extension (over 64 KB) dropped",
    b"Photoshop 3.0\0": "IPTC and Photoshop data dropped",
}
"""What segments start with that nothing here can keep."""


@dataclass
class _Segments:
    """What lies before the first scan."""

    frame: tuple[int, int, int, int] | None = None
    """Bits, height, width and samples."""
    density: Density | None = None
    notes: dict[str, None] = field(default_factory=dict)
    end: int = 2


def inspect_jpeg(data: bytes) -> Header:
    """The header of a JPEG that has an end-of-image marker behind its first scan."""
    found = _segments(data)
    bits, height, width, samples = _frame(found)
    _check_scans(data, found.end)
    _refuse_deep(bits)
    if samples == 4:
        found.notes["CMYK converted to RGB"] = None
    if _is_damaged(data, found.end):
        found.notes["the file is damaged: parts of the image may be wrong"] = None
    return Header(width=width, height=height, notes=tuple(found.notes), density=found.density)


def jpeg_size(data: Content) -> tuple[int, int]:
    """Height and width of a JPEG; what follows the first scan's header is not looked at."""
    bits, height, width, _ = _frame(_segments(data))
    _refuse_deep(bits)
    return height, width


def _segments(data: Content) -> _Segments:
    found = _Segments()
    at = found.end
    for _ in range(_MOST_SEGMENTS):
        marker, at = _next_marker(data, at)
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        length = struct.unpack_from(">H", data, at)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            found.frame = struct.unpack_from(">BHHB", data, at + 2)
        if marker == 0xE0 and data[at + 2 : at + 7] == b"JFIF\0":
            unit, x, y = struct.unpack_from(">BHH", data, at + 9)
            found.density = density(x, y, per_inch={1: 1.0, 2: 2.54}.get(unit, 0.0))
        if marker in (0xE1, 0xED):
            head = data[at + 2 : at + 40]
            found.notes |= {
                note: None for mark, note in _PASSED_OVER.items() if head.startswith(mark)
            }
        if marker in (0xD9, 0xDA):
            found.end = at
            return found
        at += length
    raise PictureError(f"it is a JPEG of over {_MOST_SEGMENTS} segments: it is damaged")


def _frame(found: _Segments) -> tuple[int, int, int, int]:
    if found.frame is None:
        raise PictureError("the file is damaged: a JPEG gives its size before its pixels")
    return found.frame


def _refuse_deep(bits: int) -> None:
    if bits != 8:
        raise PictureError(f"it is a {bits}-bit JPEG; only 8-bit ones are supported")


def _next_marker(data: Content, at: int) -> tuple[int, int]:
    """The next marker from a place on, and the place behind it."""
    found = _MARKER.search(data, at)
    if found is None:
        raise PictureError("the file is truncated inside its header")
    return data[found.end() - 1], found.end()


def _check_scans(data: bytes, at: int) -> None:
    """Refuse a file without an end, or with more scans than any encoder makes."""
    if data.find(b"\xff\xd9", at) < 0:
        raise PictureError("the file is truncated: a JPEG ends with an end-of-image marker")
    scans = 1 + data.count(b"\xff\xda", at)
    if scans > _MOST_SCANS:
        raise PictureError(f"it is a JPEG of {scans} scans; at most {_MOST_SCANS} are permitted")


def _is_damaged(data: bytes, at: int) -> bool:
    """Whether markers among the coded pixels are none, or restarts are out of order.

    Most of what overwrites a stretch of coded pixels has such bytes; a few wrong bits have not.

    Args:
        data: a file with an end.
        at: where the header of the first scan lies, behind its marker.
    """
    marker = 0xDA
    for _ in range(_MOST_SEGMENTS):
        at += int.from_bytes(data[at : at + 2], "big")
        if marker == 0xDA:
            found = _ENDING.search(data, at)
            if found is None or not _in_order(_RESTART.findall(data, at, found.start())):
                return True
            at = found.start()
        found = _MARKER.search(data, at)
        if found is None or data[at] != 0xFF:
            return True
        marker, at = data[found.end() - 1], found.end()
        if marker not in _BETWEEN_SCANS:
            return marker != 0xD9
    return True


def _in_order(restarts: list[bytes]) -> bool:
    """Whether restarts are numbered from 0 to 7, over and over."""
    return b"".join(restarts) == (_RESTARTS * (len(restarts) // 8 + 1))[: len(restarts)]
