"""What an AVIF says of itself, and what OpenCV leaves undone with it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.images.av1 import frame_sizes
from hat_deploy.images.exif import upright_exif
from hat_deploy.images.headers import Content, Header
from hat_deploy.images.opencv import bands
from hat_deploy.images.picture import Pixels

_CONTAINED = {b"meta": b"", b"iprp": b"meta", b"ipco": b"iprp"}
"""Boxes that hold boxes, and what those lie in themselves; nothing else is entered."""

_MOST_BOXES = 4096
_UNTURNED = (0, None)

_MARGIN = 1024
"""How much larger than the image the last of its tiles may make what is coded."""

_XMP_TYPE = b"application/rdf+xml"

_SRGB_PRIMARIES = (1, 2)
_SRGB_TRANSFERS = (1, 2, 6, 13, 14, 15)
"""Code points that mean sRGB, a video's curve that is shown as if it were, or nothing."""


@dataclass
class _Meta:
    """What the boxes of a file say."""

    places: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    """Where the content of each box starts and ends, by the box's name."""
    boxes: int = 0
    properties: list[tuple[bytes, int, int]] = field(default_factory=list)
    """Name, start and end of each property, in the order by which images refer to them."""

    def one(self, name: bytes) -> tuple[int, int]:
        """The first box of a name."""
        if name not in self.places:
            raise PictureError(f"the file is damaged: an AVIF without its {name.decode()} box")
        return self.places[name][0]


def inspect_avif(data: Content) -> Header:
    """The header of an AVIF of one image.

    Raises:
        PictureError: it is an animation, its boxes are damaged, or it is cropped by its header.
    """
    if data[8:12] == b"avis":
        raise PictureError("it is an animated AVIF; of animations, GIF and WebP are supported")
    meta = _Meta()
    _enter(data, 0, len(data), meta)
    primary = _primary(data, meta)
    own = [meta.properties[index - 1] for index in _associated(data, meta, primary)]
    found = {name: (start, end) for name, start, end in reversed(own)}
    if b"ispe" not in found:
        raise PictureError("the file is damaged: an AVIF without a size")
    if b"clap" in found:
        raise PictureError("it is an AVIF that crops its image: save it anew, cropped")
    width, height = struct.unpack_from(">II", data, found[b"ispe"][0] + 4)
    items = _items(data, meta)
    if primary not in items or items[primary].kind not in (b"av01", b"grid"):
        raise PictureError("it is an AVIF whose image is of no supported kind")
    _refuse_large_parts(data, items.values(), width, height)
    described = {item.kind: _content(data, item) for item in items.values()}
    exif = described.get(b"Exif")
    icc, cicp = _colour(data, own)
    return Header(
        width=width,
        height=height,
        icc=icc,
        cicp=None if icc else cicp,
        exif=exif and _ignored_orientation(exif[4 + int.from_bytes(exif[:4], "big") :]),
        xmp=described.get(b"mime"),
        patched=_without_descriptions(data, meta),
        fix=partial(_finished, bits=_depth(data, meta), turned=_turned(data, found)),
    )


def _enter(data: Content, at: int, end: int, meta: _Meta, inside: bytes = b"") -> None:
    """Note the boxes between two places, and those inside them."""
    while at + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            length = struct.unpack_from(">Q", data, start)[0]
            start += 8
        length = length or end - at
        if length < start - at or at + length > end:
            raise PictureError("the file is truncated or damaged: a box passes its end")
        if inside == b"ipco":
            meta.properties.append((name, start, at + length))
        meta.places.setdefault(name, []).append((start, at + length))
        meta.boxes += 1
        if meta.boxes > _MOST_BOXES:
            raise PictureError(f"it is an AVIF of over {_MOST_BOXES} boxes: it is damaged")
        if _CONTAINED.get(name) == inside:
            _enter(data, start + (4 if name == b"meta" else 0), at + length, meta, name)
        at += length


def _primary(data: Content, meta: _Meta) -> int:
    """The number of the image that the file is about."""
    start, _ = meta.one(b"pitm")
    return int(struct.unpack_from(">I" if data[start] else ">H", data, start + 4)[0])


def _associated(data: Content, meta: _Meta, item: int) -> list[int]:
    """The numbers of an image's properties, from 1 on."""
    start, end = meta.one(b"ipma")
    wide = data[start + 3] & 1
    at = start + 8
    for _ in range(struct.unpack_from(">I", data, start + 4)[0]):
        number = struct.unpack_from(">I" if data[start] else ">H", data, at)[0]
        at += 4 if data[start] else 2
        count, at = data[at], at + 1
        size = 2 if wide else 1
        if at + count * size > end:
            break
        if number == item:
            raw = [
                int.from_bytes(data[at + size * i : at + size * (i + 1)], "big")
                for i in range(count)
            ]
            numbers = [value & (0x7FFF if wide else 0x7F) for value in raw]
            return [number for number in numbers if 0 < number <= len(meta.properties)]
        at += count * size
    raise PictureError("the file is damaged: an AVIF that says nothing of its image")


@dataclass(frozen=True)
class _Item:
    """An image, a part of one, or metadata."""

    kind: bytes
    place: int
    length: int
    pieces: int
    """How many it lies in; place and length are those of the first."""


def _items(data: Content, meta: _Meta) -> dict[int, _Item]:
    """Everything that the file holds, by its number."""
    kinds: dict[int, bytes] = {}
    for start, end in _entries(data, meta):
        code = ">I" if data[start] == 3 else ">H"
        at = start + 4 + struct.calcsize(code) + 2
        kind = data[at : at + 4]
        if kind == b"mime" and _XMP_TYPE not in data[at:end]:
            kind = b"text"
        kinds[struct.unpack_from(code, data, start + 4)[0]] = kind
    return {
        number: _Item(kinds[number], place, length, pieces)
        for number, place, length, pieces in _locations(data, meta)
        if number in kinds
    }


def _entries(data: Content, meta: _Meta) -> list[tuple[int, int]]:
    """Where the entries lie that name the items."""
    start, end = meta.one(b"iinf")
    inner = _Meta()
    _enter(data, start + (8 if data[start] else 6), end, inner, b"iinf")
    return inner.places.get(b"infe", [])


def _locations(data: Content, meta: _Meta) -> Iterator[tuple[int, int, int, int]]:
    """Number, place, length and pieces of each item."""
    start, end = meta.one(b"iloc")
    version, sizes = data[start], struct.unpack_from(">H", data, start + 4)[0]
    offset_size, length_size, base_size = (sizes >> shift & 15 for shift in (12, 8, 4))
    index_size = sizes & 15 if version else 0
    number_size = 4 if version == 2 else 2
    at = start + 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big")

    for _ in range(number(number_size)):
        if at >= end:
            return
        item = number(number_size)
        inside = version and number(2) & 15
        number(2)
        base, pieces = number(base_size), number(2)
        if inside == 1:
            base += meta.one(b"idat")[0]
        number(index_size)
        yield item, base + number(offset_size), number(length_size), 2 if inside == 2 else pieces
        at += max(0, pieces - 1) * (index_size + offset_size + length_size)


def _content(data: Content, item: _Item | None) -> bytes | None:
    """What an item holds, if it lies in one piece."""
    if item is None or item.pieces != 1:
        return None
    return data[item.place : item.place + item.length]


def _refuse_large_parts(data: Content, items: Iterable[_Item], width: int, height: int) -> None:
    """Refuse what would take more memory to decode than the size of the image justifies."""
    for item in items:
        if item.kind not in (b"av01", b"grid"):
            continue
        content = _content(data, item)
        if content is None:
            raise PictureError("it is an AVIF whose image lies in pieces")
        sizes = frame_sizes(content) if item.kind == b"av01" else _grid_size(content)
        for across, down in sizes:
            if across > width + _MARGIN or down > height + _MARGIN:
                raise PictureError(
                    f"the file is damaged: an AVIF of {width}x{height} pixels with a part of "
                    f"{across}x{down}"
                )


def _grid_size(content: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of an image that is put together of others."""
    yield struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4)


def _colour(data: Content, own: list[tuple[bytes, int, int]]) -> tuple[bytes | None, bytes | None]:
    """A colour profile, and code points of a colour coding that is not sRGB's."""
    icc = cicp = None
    for name, start, end in own:
        if name != b"colr":
            continue
        kind = data[start : start + 4]
        if kind in (b"prof", b"rICC"):
            icc = icc or data[start + 4 : end]
        elif kind == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", data, start + 4)
            usual = primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS
            if not usual and max(primaries, transfer) < 256:
                cicp = bytes([primaries, transfer, 0, 1])
    return icc, cicp


def _ignored_orientation(exif: bytes) -> bytes:
    """The block without its orientation, which does not count: the file's own properties do."""
    upright, _ = upright_exif(exif)
    return exif if upright is None else upright


def _depth(data: Content, meta: _Meta) -> int:
    """Bits a sample, by the configuration of the coded image."""
    start, _ = meta.one(b"av1C")
    flags = data[start + 2]
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _turned(data: Content, found: dict[bytes, tuple[int, int]]) -> tuple[int, int | None]:
    """Quarter turns to the left, and then the axis to mirror along."""
    turns = data[found[b"irot"][0]] & 3 if b"irot" in found else 0
    axis = data[found[b"imir"][0]] & 1 if b"imir" in found else None
    return turns, axis


def _without_descriptions(data: Content, meta: _Meta) -> bytearray | None:
    """The file without its references from metadata to the image, at which OpenCV may stop."""
    if b"iref" not in meta.places:
        return None
    patched = bytearray(data)
    for start, end in meta.places[b"iref"]:
        at = start + 4
        while at + 8 <= end:
            if data[at + 4 : at + 8] == b"cdsc":
                patched[at + 4 : at + 8] = b"skip"
            at += max(8, int.from_bytes(data[at : at + 4], "big"))
    return patched


def _finished(pixels: Pixels, *, bits: int, turned: tuple[int, int | None]) -> Pixels:
    """Samples of 10 or 12 bits spread over 16, and the image turned as the file says."""
    if pixels.dtype == np.uint16:
        for rows in bands(pixels):
            pixels[rows] = pixels[rows] << (16 - bits) | pixels[rows] >> (2 * bits - 16)
    if turned == _UNTURNED:
        return pixels
    turns, axis = turned
    pixels = np.rot90(pixels, turns)
    return np.ascontiguousarray(pixels if axis is None else np.flip(pixels, axis))
