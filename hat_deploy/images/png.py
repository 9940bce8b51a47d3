"""What a PNG says of itself, and the PNG without what OpenCV need not see."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.images.colour import profile_of
from hat_deploy.images.headers import Content, Header, printable
from hat_deploy.images.opencv import bands
from hat_deploy.images.picture import Density, Pixels
from hat_deploy.images.tags import density_per_metre

_DECODED = (b"tRNS", b"iCCP", b"cICP", b"eXIf")
"""The chunks that OpenCV makes use of, beside the critical ones and two kinds of text."""

_TEXTS = {
    b"iTXt": (b"XML:com.adobe.xmp\0",),
    b"zTXt": (b"Raw profile type exif\0", b"Raw profile type APP1\0"),
    b"tEXt": (b"Raw profile type exif\0", b"Raw profile type APP1\0"),
}
"""XMP, and EXIF as it was stored before it had a chunk of its own."""


_LOOKED_AT = (b"tRNS", b"iCCP", b"sRGB", b"cICP", b"gAMA", b"cHRM", b"pHYs", b"acTL")
"""The chunks that are looked at here."""

_MOST_CHUNKS = 10_000
_LARGEST_CHUNK = 8_000_000
"""Bytes of a chunk that is not pixels; libpng's limit."""


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int
    """Where it lies, from its length to behind its checksum."""
    sound: bool
    """Whether its checksum holds."""

    @property
    def oversized(self) -> bool:
        """Whether libpng would refuse it, and with it the file."""
        return self.end - self.start - 12 > _LARGEST_CHUNK


def inspect_png(data: bytes) -> Header:
    """The header of a PNG whose chunks reach its end, with no damage to the critical ones."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if bits not in (1, 2, 4, 8, 16):
        raise PictureError(f"the file is damaged: a PNG of {bits} bits a sample")
    chunks = list(_chunks(data))
    found = {chunk.kind: data[chunk.start + 8 : chunk.end - 4] for chunk in _small(chunks)}
    animation = found.get(b"acTL", b"")
    frames = int.from_bytes(animation[:4], "big") if len(animation) == 8 else 1
    fix = None
    if colour == 0 and len(found.get(b"tRNS", b"")) == 2:
        step = 255 // (2**bits - 1) if bits < 8 else 1
        fix = partial(_level_to_alpha, level=int.from_bytes(found[b"tRNS"][:2], "big") * step)
    return Header(
        width=width,
        height=height,
        frames=frames,
        notes=(*_notes(colour, bits, transparent=fix is not None), *_damaged(chunks)),
        icc=_profile(found, gray=colour == 0 and fix is None),
        has_profile=b"iCCP" in found,
        density=_density(found.get(b"pHYs", b"")),
        patched=_without_the_rest(data, chunks),
        fix=fix,
    )


def png_size(data: Content) -> tuple[int, int]:
    """Height and width of a PNG, from its first chunk alone."""
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """All chunks up to the end of the image, which must be there; pixels in a row as one."""
    at, kind, pixels, others = 8, b"", 0, 0
    while kind != b"IEND":
        kind, end, sound = _chunk_at(data, at)
        if pixels and kind != b"IDAT":
            yield _Chunk(b"IDAT", pixels, at, True)
            pixels = 0
        if kind == b"IDAT":
            pixels = pixels or at
        else:
            yield _Chunk(kind, at, end, sound)
            others += 1
        if others > _MOST_CHUNKS:
            raise PictureError(f"it is a PNG of over {_MOST_CHUNKS} chunks: it is damaged")
        at = end


def _chunk_at(data: bytes, at: int) -> tuple[bytes, int, bool]:
    """A chunk's kind, where it ends, and whether its checksum holds."""
    if at + 12 > len(data):
        raise PictureError("the file is truncated: a PNG ends with an IEND chunk")
    length, kind = struct.unpack_from(">I4s", data, at)
    end = at + 12 + length
    if end > len(data):
        raise PictureError(f"the file is truncated inside its {printable(kind)} chunk")
    body = memoryview(data)[at + 4 : end - 4]
    sound = zlib.crc32(body) == struct.unpack_from(">I", data, end - 4)[0]
    if not sound and not kind[0] & 0x20:
        raise PictureError(f"the file is damaged: its {printable(kind)} chunk fails its checksum")
    return kind, end, sound


def _small(chunks: list[_Chunk]) -> Iterator[_Chunk]:
    """Sound chunks that are looked at, the last of a kind first, so that its first counts."""
    return (c for c in reversed(chunks) if c.sound and c.kind in _LOOKED_AT and not c.oversized)


def _without_the_rest(data: bytes, chunks: list[_Chunk]) -> bytes | None:
    """The file with only what is decoded; None if that is all of it.

    A thousand compressed texts would keep libpng busy for a minute, and it prints complaints
    about chunks of no interest here.
    """
    kept: list[_Chunk] = []
    seen: set[bytes] = set()
    for chunk in chunks:
        critical = not chunk.kind[0] & 0x20
        body = data[chunk.start + 8 : chunk.start + 40]
        wanted = chunk.kind in _DECODED or body.startswith(_TEXTS.get(chunk.kind, ()))
        usable = chunk.sound and not chunk.oversized
        if critical or (wanted and usable and chunk.kind not in seen):
            kept.append(chunk)
            seen.add(chunk.kind)
    if len(kept) == len(chunks):
        return None
    return data[:8] + b"".join(data[chunk.start : chunk.end] for chunk in kept)


def _notes(colour: int, bits: int, *, transparent: bool) -> Iterator[str]:
    if colour == 0 and bits < 8:
        yield f"{bits}-bit gray became 8-bit"
    if colour == 0 and transparent:
        yield "gray with a transparent level became RGB with alpha"
    if colour == 3:
        yield "palette expanded to RGB"
    if colour == 4:
        yield "gray with alpha became RGB with alpha"


def _damaged(chunks: list[_Chunk]) -> Iterator[str]:
    """A note for each kind of chunk that would be made use of if it were sound and smaller."""
    for kind in (*_DECODED, b"pHYs", b"gAMA", b"cHRM"):
        own = [chunk for chunk in chunks if chunk.kind == kind]
        if any(not chunk.sound for chunk in own):
            yield f"damaged {printable(kind)} chunk dropped"
        if any(chunk.sound and chunk.oversized for chunk in own):
            yield f"{printable(kind)} chunk over {_LARGEST_CHUNK:,} bytes dropped"


def _profile(found: dict[bytes, bytes], *, gray: bool) -> bytes | None:
    """A profile made of gamma and chromaticities, where nothing better says what colours mean."""
    if {b"iCCP", b"sRGB", b"cICP"} & found.keys() or len(found.get(b"gAMA", b"")) != 4:
        return None
    gamma = int.from_bytes(found[b"gAMA"], "big") / 100_000
    places = found.get(b"cHRM", b"")
    chromaticities = struct.unpack(">8I", places) if len(places) == 32 else None
    scaled = chromaticities and tuple(value / 100_000 for value in chromaticities)
    return profile_of(gamma, scaled or None, gray=gray)


def _density(chunk: bytes) -> Density | None:
    if len(chunk) != 9 or chunk[8] != 1:
        return None
    x, y = struct.unpack(">II", chunk[:8])
    return density_per_metre(x, y)


def _level_to_alpha(gray: Pixels, level: int) -> Pixels:
    result = np.empty((*gray.shape, 4), gray.dtype)
    for rows in bands(gray):
        result[rows, :, :3] = gray[rows, :, None]
        result[rows, :, 3] = np.iinfo(gray.dtype).max
        result[rows, :, 3][gray[rows] == level] = 0
    return result
