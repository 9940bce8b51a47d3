"""The packets of one encoded part of a clip in a file of our own.

The container of the result is written in the end: it needs every timestamp, and what it holds
beside them must not depend on when a run was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hat_deploy.errors import needed_for

with needed_for("Video"):
    import av

FRAMES = 120
"""In a part: what is lost at most when a run is killed, and the distance of key frames."""


@dataclass(frozen=True)
class Packet:
    """One encoded frame in the order of decoding."""

    pts: int
    """In ticks of the clip."""
    duration: int
    """In ticks."""
    key: bool
    data: bytes


Times = list[tuple[int, int, int, int]]
"""Of each packet: pts, duration, 1 for a key frame, bytes."""


def packets_of(encoded: Iterable[av.Packet[Any]], durations: dict[int, int]) -> Iterator[Packet]:
    """An encoder's packets with the durations of their frames."""
    for packet in encoded:
        assert packet.pts is not None
        yield Packet(packet.pts, durations[packet.pts], packet.is_keyframe, bytes(packet))


def write(path: Path, packets: list[Packet]) -> None:
    """Write a part.

    Raises:
        OSError: it cannot be written.
    """
    times = [(p.pts, p.duration, int(p.key), len(p.data)) for p in packets]
    with path.open("wb") as file:
        file.write(json.dumps(times, separators=(",", ":")).encode() + b"\n")
        for packet in packets:
            file.write(packet.data)


def shown(path: Path) -> list[int]:
    """When the frames of a part are shown, in the order in which they are decoded.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return [pts for pts, *_ in _times(file)]


def read(path: Path) -> Iterator[Packet]:
    """A part's packets, one after the other.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        for pts, duration, key, size in _times(file):
            yield Packet(pts, duration, bool(key), file.read(size))


def _times(file: BinaryIO) -> Times:
    times: Times = json.loads(file.readline())
    return times
