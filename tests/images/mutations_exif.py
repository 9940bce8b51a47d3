"""EXIF blocks that are damaged where it matters, in sound files; the same for the same number."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from random import Random

import numpy as np
from picture_files import saved

RGB = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
KINDS = ("JPEG", "PNG", "WEBP")

_NUMBERS = (256, 257, 274, 282, 283, 296, 513, 514, 273, 279, 34665, 34853, 40965, 40962, 37500)
_COUNTS = (0, 1, 2, 3, 4, 5, 8, 0xFFFF, 0x10000, 2**29, 2**31, 2**32 - 1)
_EXTREMES = (0, 1, 2, 4, 6, 7, 8, 9, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF7, 0xFFFFFFFF)

Entry = tuple[int, int, int, int | bytes]
"""Number, type, count, and the value or what is stored elsewhere."""


@cache
def sound(order: str) -> bytes:
    """A block with everything that is looked at: three directories inside it, and a thumbnail."""
    thumbnail = saved(RGB[:4, :4], "JPEG")
    ratio = struct.pack(order + "II", 300, 1)
    inner: list[Entry] = [
        *((33434, 5, 1, ratio), (37500, 7, 40, bytes(40))),
        *((40962, 3, 1, 12), (40963, 4, 1, 8), (40965, 4, 1, 0)),
    ]
    gps: list[Entry] = [(1, 2, 2, b"N\0"), (2, 5, 3, ratio * 3)]
    first: list[Entry] = [
        *((256, 4, 1, 12), (257, 3, 1, 8), (271, 2, 9, b"Somebody\0"), (274, 3, 1, 6)),
        *((282, 5, 1, ratio), (283, 5, 1, ratio), (296, 3, 1, 2)),
        *((34665, 4, 1, 0), (34853, 4, 1, 0)),
    ]
    block = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))
    starts = {name: _append(block, order, tags) for name, tags in (("first", first),)}
    starts["inner"] = _append(block, order, inner)
    starts["gps"] = _append(block, order, gps)
    starts["interop"] = _append(block, order, [(1, 2, 4, b"R98\0")])
    second: list[Entry] = [(513, 4, 1, 0), (514, 4, 1, len(thumbnail))]
    starts["second"] = _append(block, order, second)
    at = len(block)
    block += thumbnail
    _point(block, order, starts["first"], 34665, starts["inner"])
    _point(block, order, starts["first"], 34853, starts["gps"])
    _point(block, order, starts["inner"], 40965, starts["interop"])
    _point(block, order, starts["second"], 513, at)
    struct.pack_into(order + "I", block, starts["first"] + 2 + 12 * len(first), starts["second"])
    return bytes(block)


def _append(block: bytearray, order: str, tags: list[Entry]) -> int:
    at = len(block)
    behind = at + 6 + 12 * len(tags)
    extra = b""
    block += struct.pack(order + "H", len(tags))
    for number, kind, count, value in tags:
        block += struct.pack(order + "HHI", number, kind, count)
        if isinstance(value, bytes) and len(value) > 4:
            block += struct.pack(order + "I", behind + len(extra))
            extra += value + bytes(len(value) % 2)
        elif isinstance(value, bytes):
            block += value.ljust(4, b"\0")
        else:
            block += struct.pack(order + ("HH" if kind == 3 else "I"), value, *[0] * (kind == 3))
    block += bytes(4) + extra
    return at


def _point(block: bytearray, order: str, directory: int, number: int, target: int) -> None:
    for entry in _entries_at(block, order, directory):
        if struct.unpack_from(order + "H", block, entry)[0] == number:
            struct.pack_into(order + "I", block, entry + 8, target)


def _entries_at(block: bytes | bytearray, order: str, directory: int) -> list[int]:
    count = struct.unpack_from(order + "H", block, directory)[0]
    return [directory + 2 + 12 * number for number in range(count)]


@cache
def _places(order: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the sound block's directories and their entries lie."""
    block = sound(order)
    todo, directories, entries = [8], [], []
    while todo:
        at = todo.pop()
        directories.append(at)
        own = _entries_at(block, order, at)
        entries += own
        todo += [value for value in struct.unpack_from(order + "I", block, own[-1] + 12) if value]
        for entry in own:
            number, _, _, value = struct.unpack_from(order + "HHII", block, entry)
            todo += [value] * (number in (34665, 34853, 40965))
    return tuple(directories), tuple(entries)


def block(random: Random) -> bytes:
    """The sound block with one to four things changed."""
    order = random.choice("<>")
    data = bytearray(sound(order))
    for _ in range(random.choice((1, 1, 2, 3, 4))):
        random.choice(_MUTATIONS)(data, order, random)
    return bytes(data)


def case(number: int) -> bytes:
    """A sound picture with a damaged EXIF block."""
    kind = KINDS[number % len(KINDS)]
    return saved(RGB, kind, exif=b"Exif\0\0" + block(Random(f"exif {number}")))


def _offset(order: str, random: Random) -> int:
    """A place that hurts: in the header, in or at a directory, around the end, far away."""
    directories, entries = _places(order)
    near = random.choice((*directories, *entries, len(sound(order)))) + random.randrange(-12, 13)
    return max(0, random.choice((near, near, random.choice(_EXTREMES))))


def _entry(order: str, random: Random) -> int:
    return random.choice(_places(order)[1])


def _change_number(data: bytearray, order: str, random: Random) -> None:
    struct.pack_into(order + "H", data, _entry(order, random), random.choice(_NUMBERS))


def _change_type(data: bytearray, order: str, random: Random) -> None:
    struct.pack_into(order + "H", data, _entry(order, random) + 2, random.randrange(20))


def _change_count(data: bytearray, order: str, random: Random) -> None:
    struct.pack_into(order + "I", data, _entry(order, random) + 4, random.choice(_COUNTS))


def _change_value(data: bytearray, order: str, random: Random) -> None:
    struct.pack_into(order + "I", data, _entry(order, random) + 8, _offset(order, random))


def _change_size_of_directory(data: bytearray, order: str, random: Random) -> None:
    at = random.choice(_places(order)[0])
    count = struct.unpack_from(order + "H", data, at)[0] + random.choice((-1, 1, 5, 4096, 65535))
    struct.pack_into(order + "H", data, at, count % 65536)


def _change_chain(data: bytearray, order: str, random: Random) -> None:
    at = random.choice(_places(order)[0])
    link = _entries_at(sound(order), order, at)[-1] + 12
    struct.pack_into(order + "I", data, link, _offset(order, random))


def _change_start(data: bytearray, order: str, random: Random) -> None:
    struct.pack_into(order + "I", data, 4, _offset(order, random))


def _change_mark(data: bytearray, order: str, random: Random) -> None:
    at = random.randrange(4)
    data[at : at + 1] = bytes([random.choice((0, 0x2A, 0x2B, 0x49, 0x4D, 0xFF))])


def _repeat_entry(data: bytearray, order: str, random: Random) -> None:
    source, target = _entry(order, random), _entry(order, random)
    data[target : target + 12] = data[source : source + 12]


def _cut(data: bytearray, order: str, random: Random) -> None:
    if random.random() < 0.3:
        # Zeros in its place keep the other mutations inside the block.
        at = random.randrange(len(data))
        data[at:] = bytes(len(data) - at)


_MUTATIONS: tuple[Callable[[bytearray, str, Random], None], ...] = (
    *(_change_number, _change_type, _change_count, _change_value, _change_value, _change_value),
    *(_change_size_of_directory, _change_chain, _change_start, _change_mark, _repeat_entry, _cut),
)
