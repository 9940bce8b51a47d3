"""The packets of one encoded part of a clip in a file of our own.

The container of the result is written in the end: it needs every timestamp, and what it holds
beside them must not depend on when a run was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from hat_deploy.errors import needed_for
from hat_deploy.video.encoding import Encoder, Recipe
from hat_deploy.video.layout import Plane

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


class Store(Protocol):
    """Where encoded parts are kept."""

    def has(self, number: int) -> bool:
        """Whether a part is there, whole and of these settings."""

    def save(self, number: int, packets: list[Packet]) -> int:
        """Keep a part; returns its bytes."""


class Parts:
    """A sink that encodes frames part by part and hands each to a store."""

    def __init__(self, recipe: Recipe, store: Store) -> None:
        self._recipe = recipe
        self._store = store
        self._encoder: Encoder | None = None
        self._part = -1
        self._packets: list[Packet] = []
        self._durations: dict[int, int] = {}
        self.size = 0
        """Bytes encoded."""

    def has(self, part: int) -> bool:
        """Whether the store has it."""
        return self._store.has(part)

    def put(self, part: int, planes: tuple[Plane, ...], pts: int, duration: int) -> None:
        """Encode a frame; the first of a part ends the one before."""
        if self._encoder is None or part != self._part:
            self.end()
            self._encoder, self._part = Encoder(self._recipe), part
        self._durations[pts] = duration
        self._take(self._encoder.encode(planes, pts))

    def end(self) -> None:
        """Keep what has been encoded of the part."""
        if self._encoder is not None:
            self._take(self._encoder.finish())
            self.size += self._store.save(self._part, self._packets)
            self._encoder, self._packets, self._durations = None, [], {}

    def _take(self, encoded: Iterable[av.Packet[Any]]) -> None:
        for packet in encoded:
            assert packet.pts is not None
            duration = self._durations[packet.pts]
            self._packets.append(Packet(packet.pts, duration, packet.is_keyframe, bytes(packet)))


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
