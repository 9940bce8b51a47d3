"""What PNG, JPEG, WebP and BMP files say of themselves, read without decoding a pixel.

Each reader returns a :class:`Header` or raises ``PictureError``; bytes that end too early may
also raise ``struct.error`` or ``IndexError``, which :mod:`.kinds` turns into a sentence.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Pixels


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file is, told without decoding it, and how OpenCV is to be helped with it."""

    width: int
    height: int
    frames: int = 1
    notes: tuple[str, ...] = ()
    icc: bytes | None = None
    xmp: bytes | None = None
    patched: bytes | None = None
    """The file as it must be given to OpenCV, where that is not as it is."""
    fix: Callable[[Pixels], Pixels] | None = None
    """What OpenCV leaves to be done to the pixels it decodes."""


def inspect_png(data: bytes) -> Header:
    """The header of a PNG whose chunks reach its end, with no damage to the critical ones."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    chunks = _png_chunks(data)
    frames = struct.unpack(">I", chunks[b"acTL"][:4])[0] if b"acTL" in chunks else 1
    fix = None
    notes: list[str] = []
    if colour == 0 and bits < 8:
        notes.append(f"{bits}-bit gray became 8-bit")
    if colour == 0 and b"tRNS" in chunks:
        notes.append("gray with a transparent level became RGB with alpha")
        step = 255 // (2**bits - 1) if bits < 8 else 1
        fix = partial(_level_to_alpha, level=int.from_bytes(chunks[b"tRNS"][:2], "big") * step)
    if colour == 3:
        notes.append("palette expanded to RGB")
    if colour == 4:
        notes.append("gray with alpha became RGB with alpha")
    return Header(width=width, height=height, frames=frames, notes=tuple(notes), fix=fix)


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The small chunks, after checking that the file reaches its end and no pixel is damaged."""
    chunks: dict[bytes, bytes] = {}
    view = memoryview(data)
    at = 8
    while b"IEND" not in chunks:
        if at + 12 > len(data):
            raise PictureError("the file is truncated: a PNG ends with an IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise PictureError(f"the file is truncated inside its {printable(kind)} chunk")
        critical = not kind[0] & 0x20
        if critical and zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise PictureError(
                f"the file is damaged: its {printable(kind)} chunk fails its checksum"
            )
        if kind in (b"acTL", b"tRNS", b"IEND"):
            chunks[kind] = bytes(view[at + 8 : end])
        at = end + 4
    return chunks


def _level_to_alpha(gray: Pixels, level: int) -> Pixels:
    opaque = np.iinfo(gray.dtype).max
    alpha = np.where(gray == level, 0, opaque).astype(gray.dtype)
    return np.dstack([gray, gray, gray, alpha])


def inspect_jpeg(data: bytes) -> Header:
    """The header of a JPEG that has an end-of-image marker behind its first scan."""
    at = 2
    size: tuple[int, int, int, int] | None = None
    while True:
        at = data.find(b"\xff", at)
        while at >= 0 and data[at] == 0xFF:
            at += 1
        if at < 0:
            raise PictureError("the file is truncated inside its header")
        marker = data[at]
        at += 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        length = struct.unpack_from(">H", data, at)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">BHHB", data, at + 2)
        if marker in (0xD9, 0xDA):
            break
        at += length
    if size is None:
        raise PictureError("the file is damaged: a JPEG gives its size before its pixels")
    if data.find(b"\xff\xd9", at) < 0:
        raise PictureError("the file is truncated: a JPEG ends with an end-of-image marker")
    bits, height, width, samples = size
    if bits != 8:
        raise PictureError(f"it is a {bits}-bit JPEG; only 8-bit ones are supported")
    notes = ("CMYK converted to RGB",) if samples == 4 else ()
    return Header(width=width, height=height, notes=notes)


def inspect_webp(data: bytes) -> Header:
    """The header of a WebP that is as long as it says."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise PictureError(f"the file is truncated: it has {len(data)} bytes of {end}")
    first = data[12:16]
    if first == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width=width & 0x3FFF, height=height & 0x3FFF)
    if first == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Header(width=(bits & 0x3FFF) + 1, height=(bits >> 14 & 0x3FFF) + 1)
    if first != b"VP8X":
        raise PictureError("the file is damaged: a WebP starts with a VP8, VP8L or VP8X chunk")
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    frames = _webp_frames(data, end) if data[20] & 0x02 else 1
    return Header(width=width, height=height, frames=frames)


def _webp_frames(data: bytes, end: int) -> int:
    frames, at = 0, 12
    while at + 8 <= end:
        frames += data[at : at + 4] == b"ANMF"
        length = struct.unpack_from("<I", data, at + 4)[0]
        at += 8 + length + length % 2
    return frames


def inspect_bmp(data: bytes) -> Header:
    """The header of a BMP; its notes tell whether its palette is coloured."""
    size = struct.unpack_from("<I", data, 14)[0]
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    step = 3 if size == 12 else 4
    colours = data[14 + size : struct.unpack_from("<I", data, 10)[0]]
    gray = colours[0::step] == colours[1::step] == colours[2::step]
    notes = ("palette expanded to RGB",) if 1 <= bits <= 8 and not gray else ()
    return Header(width=width, height=abs(height), notes=notes)


def printable(name: bytes) -> str:
    """A four-letter code out of a file, for a message."""
    return name.decode("ascii") if name.isalnum() else "unknown"
