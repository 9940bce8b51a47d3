"""What files say of themselves, read without decoding a pixel; WebP and BMP themselves.

Each reader returns a :class:`Header` or raises ``PictureError``; bytes that end too early may
also raise ``struct.error`` or ``IndexError``, which :mod:`.kinds` turns into a sentence.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Density, Pixels
from hat_deploy.images.tags import density_per_metre

_MOST_CHUNKS = 10_000
_OF_THE_WHOLE = {0x20: "colour profile", 0x08: "EXIF", 0x04: "XMP"}
"""What bits of a WebP's flags announce."""

Content = bytes | mmap.mmap
"""A file's bytes: read, or mapped, so that only what is looked at is read."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file is, told without decoding it, and how OpenCV is to be helped with it."""

    width: int
    height: int
    frames: int = 1
    moving: bool = False
    """Whether the frames are of one size and can all be decoded."""
    notes: tuple[str, ...] = ()
    icc: bytes | None = None
    xmp: bytes | None = None
    exif: bytes | None = None
    density: Density | None = None
    cicp: bytes | None = None
    has_profile: bool = False
    """Whether OpenCV has to find a colour profile, unless that is damaged."""
    patched: bytes | bytearray | None = None
    """The file as it must be given to OpenCV, where that is not as it is."""
    fix: Callable[[Pixels], Pixels] | None = None
    """What OpenCV leaves to be done to the pixels it decodes."""


def inspect_webp(data: Content) -> Header:
    """The header of a WebP that is as long as it says."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise PictureError(f"the file is truncated: it has {len(data)} bytes of {end}")
    if data[12:16] != b"VP8X":
        width, height = _webp_size(data, 12)
        return Header(width=width, height=height)
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    chunks = list(_webp_chunks(data, end))
    if data[20] & 0x02:
        frames = [at for name, at in chunks if name == b"ANMF"]
        if len(frames) == 1 and data[frames[0] + 14 : frames[0] + 20] != data[24:30]:
            raise PictureError("the file is damaged: a WebP of two different sizes")
        lost = [what for bit, what in _OF_THE_WHOLE.items() if data[20] & bit and len(frames) > 1]
        notes = tuple(f"{what} of an animation dropped" for what in lost)
        moving = len(frames) > 1
        return Header(width=width, height=height, frames=len(frames), moving=moving, notes=notes)
    for name, at in chunks:
        if name in (b"VP8 ", b"VP8L") and _webp_size(data, at) != (width, height):
            raise PictureError("the file is damaged: a WebP of two different sizes")
    return Header(width=width, height=height)


def _webp_size(data: Content, at: int) -> tuple[int, int]:
    """Width and height by the chunk of pixels that starts at a place."""
    if data[at : at + 4] == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, at + 14)
        return width & 0x3FFF, height & 0x3FFF
    if data[at : at + 4] == b"VP8L":
        bits = struct.unpack_from("<I", data, at + 9)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise PictureError("the file is damaged: a WebP starts with a VP8, VP8L or VP8X chunk")


def _webp_chunks(data: Content, end: int) -> Iterator[tuple[bytes, int]]:
    """The names of the chunks behind the RIFF header, and where they start."""
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > end:
            return
        yield data[at : at + 4], at
        length = struct.unpack_from("<I", data, at + 4)[0]
        at += 8 + length + length % 2
    raise PictureError(f"it is a WebP of over {_MOST_CHUNKS} chunks: it is damaged")


def inspect_bmp(data: Content) -> Header:
    """The header of a BMP; its notes tell whether its palette is coloured."""
    size = struct.unpack_from("<I", data, 14)[0]
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    step = 3 if size == 12 else 4
    start = struct.unpack_from("<I", data, 10)[0]
    colours = data[14 + size : min(start, 14 + size + 256 * step)]
    gray = colours[0::step] == colours[1::step] == colours[2::step]
    notes = ("palette expanded to RGB",) if 1 <= bits <= 8 and not gray else ()
    x, y = struct.unpack_from("<ii", data, 38) if size >= 40 else (0, 0)
    resolution = density_per_metre(x, y)
    return Header(width=width, height=abs(height), notes=notes, density=resolution)


def printable(name: bytes) -> str:
    """A four-letter code out of a file, for a message."""
    return name.decode("ascii") if name.isalnum() else "unknown"
