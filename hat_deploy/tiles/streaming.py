"""The engine loop: tiles of all waiting images go through an engine in full batches.

One image and a folder go the same way: the caller feeds :class:`Enlargement` objects,
:func:`stream` cuts them, computes batches and writes the results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Protocol

from hat_deploy.engines.averages import exact
from hat_deploy.engines.base import Arrays, Engine
from hat_deploy.tiles.enlargement import Enlargement, Piece, gather, gather_averages


class Feed(Protocol):
    """Where images come from."""

    @property
    def ended(self) -> bool:
        """Whether no more images will come."""

    def take(self) -> Enlargement | None:
        """The next image; None if there is none now and none comes soon."""


class One:
    """A feed of a single image."""

    def __init__(self, picture: Enlargement) -> None:
        self._picture: Enlargement | None = picture

    @property
    def ended(self) -> bool:
        """Whether it has been taken."""
        return self._picture is None

    def take(self) -> Enlargement | None:
        """The image, once."""
        picture, self._picture = self._picture, None
        return picture


def stream(feed: Feed) -> Generator[list[Piece], None, None]:
    """Enlarge what the feed gives, tiles of several images in one batch.

    Images may want different engines; tiles wait until those for one engine fill a batch. A
    batch that is not full is computed when the feed has nothing soon. Whenever there is nothing
    to compute, batches in flight are waited for, so that a feed that waits in turn for images
    to be finished gets them.

    Yields:
        After each batch its tiles, written into their images already; an empty list each
        time the feed had nothing although nothing was left to do. A list is emptied when the
        next is asked for.

    Raises:
        ArtifactError: an engine failed; batches in flight are lost.
    """
    return _Stream(feed).run()


class _Lane:
    """The tiles that wait for one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pieces: deque[Piece] = deque()

    @property
    def fullness(self) -> float:
        """Batches that could be filled."""
        return len(self.pieces) / self.engine.input.batch

    def compute(self, groups: Iterable[list[Piece]]) -> Iterator[Arrays]:
        """What the engine makes of each group: results, and averages where it is exact."""
        engine = exact(self.engine)
        if engine is None:
            batches = (gather(group, self.engine.input) for group in groups)
            return ((result,) for result in self.engine.stream(batches))
        return engine.stream_exact(
            (gather(group, engine.input), *gather_averages(group, engine.input)) for group in groups
        )

    def put_first(self, pieces: list[Piece]) -> None:
        """Tiles to compute before all others, so that an image that was begun is finished."""
        self.pieces.extendleft(reversed(pieces))

    def pop(self) -> Piece | None:
        """The next tile of an image that has not failed."""
        while self.pieces:
            piece = self.pieces.popleft()
            if piece.picture.error is None:
                return piece
        return None


class _Stream:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._lanes: list[_Lane] = []

    def run(self) -> Generator[list[Piece], None, None]:
        while True:
            lane = max(self._lanes, key=lambda lane: lane.fullness, default=None)
            if lane is not None and lane.pieces:
                yield from self._drive(lane)
            elif self._feed.ended:
                return
            elif not self._receive():
                yield []

    def _drive(self, lane: _Lane) -> Iterator[list[Piece]]:
        """Run one engine for as long as there are tiles for it."""
        flying: deque[list[Piece]] = deque()

        def groups() -> Iterator[list[Piece]]:
            while group := self._group(lane):
                flying.append(group)
                yield group

        for values in lane.compute(groups()):
            group, peaks = flying.popleft(), lane.engine.peaks
            for slot, (piece, *value) in enumerate(zip(group, *values, strict=False)):
                peak = None if peaks is None else peaks[slot]
                lane.put_first(piece.picture.accept(piece, *value, peak=peak))
            yield group
            del piece
            group.clear()  # holds the last image, perhaps a large one that is long written
        if not lane.pieces:  # there may be an engine for each size of image
            self._lanes.remove(lane)

    def _group(self, lane: _Lane) -> list[Piece]:
        """Tiles for the next batch; none if another engine has more to do, or there are none."""
        group: list[Piece] = []
        while len(group) < lane.engine.input.batch:
            if piece := lane.pop():
                group.append(piece)
            elif any(other.fullness >= 1 for other in self._lanes):
                lane.pieces.extendleft(reversed(group))
                return []
            elif not self._receive():
                break
        return group

    def _receive(self) -> bool:
        picture = self._feed.take()
        if picture is None:
            return False
        self._lane(picture.engine).pieces.extend(picture.pieces())
        return True

    def _lane(self, engine: Engine) -> _Lane:
        for lane in self._lanes:
            if lane.engine is engine:
                return lane
        self._lanes.append(_Lane(engine))
        return self._lanes[-1]
