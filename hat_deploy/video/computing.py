"""Decoding, computing and encoding side by side, frame by frame, in memory that has a limit.

    decoder thread -> inbox -> stream of tiles (the caller's thread) -> outbox -> encoder thread

A frame holds one of a number of places from before it is converted until after it is encoded.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hat_deploy.engines.several import count_of
from hat_deploy.errors import PictureError
from hat_deploy.images import Colour as Background
from hat_deploy.images import over, shrink
from hat_deploy.tiles.enlargement import Enlargement, Piece
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.tiles.streaming import stream
from hat_deploy.tiles.target_size import Steps
from hat_deploy.video.colour import planes_of, rgb_of
from hat_deploy.video.encoding import Recipe
from hat_deploy.video.layout import Plane
from hat_deploy.video.parts import FRAMES
from hat_deploy.video.source import Frame, Source

LINGER = 0.05
"""Seconds to wait for another frame before a batch is computed that is not full."""
MOST_PLACES = 32
"""Frames on their way at once for each engine, but for as many as fill two batches."""
_LOOK = 0.1
"""Seconds between two looks at whether the others still work."""
_FLOATS = 9
"""Arrays of float64 of a frame's size that conversion takes at its peak."""


class Sink(Protocol):
    """Where finished frames go, in the order in which they are shown."""

    @property
    def size(self) -> int:
        """Bytes made of them."""

    def has(self, part: int) -> bool:
        """Whether a part's frames need not be computed."""

    def put(self, part: int, planes: tuple[Plane, ...], pts: int, duration: int) -> None:
        """Take a frame, in the recipe's layout."""

    def end(self) -> None:
        """Take note that no frame comes any more."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a clip is."""

    frame: int
    """Frames done, those of an earlier run included."""
    frames: int | None
    """In the clip, as far as it says."""
    computed: int
    """Frames done in this run."""
    seconds: float
    """Since the first of them was begun."""
    size: int
    """Bytes encoded in this run."""


OnPosition = Callable[[Position], None]


@dataclass(kw_only=True)
class Tally:
    """What was done."""

    encoded: int = 0
    """Frames."""
    kept: int = 0
    """Frames in parts that were there."""
    reused: int = 0
    """Frames that are as the one before."""
    tiles: int = 0
    again: int = 0
    """Tiles that were computed again by the wider engine."""
    parts: int = 0

    @property
    def frames(self) -> int:
        """All of the clip that were read, in the end."""
        return self.kept + self.encoded


@dataclass(eq=False)
class _Work:
    """A frame between the threads."""

    order: int
    frame: Frame
    part: int
    pixels: Any = None
    """RGB; None where the frame is as the one before."""
    steps: int = 0
    """Passes of the network that have begun."""


class Ended(Exception):
    """Another thread has failed: this one has nothing left to do."""


@dataclass(kw_only=True)
class Computation:
    """One clip being upscaled; :meth:`run` does all of it.

    Args:
        source: its frames.
        sink: takes the results; in a thread of its own.
        memory: bytes for frames on their way.
        background: what lies behind transparent pixels where the result holds none.
    """

    source: Source
    upscaler: Enlarger
    recipe: Recipe
    steps: Steps
    sink: Sink
    memory: int
    reuse: bool = True
    linear_light: bool = False
    background: Background | None = None
    on_position: OnPosition = lambda position: None
    tally: Tally = field(default_factory=Tally)

    def run(self) -> Tally:
        """Do it.

        Raises:
            PictureError: a frame cannot be read, computed or encoded.
            CheckFailed: the engine returned values that are not finite.
            ArtifactError: the engine failed.
            OSError: a part cannot be kept.
        """
        self._inbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._places = threading.Semaphore(self._count_places())
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._working: dict[Enlargement, _Work] = {}
        self._again: deque[_Work] = deque()
        self._open = True
        self._begun = time.monotonic()
        # Daemons: a program that is interrupted again must be able to exit.
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._decode, self._encode)
        ]
        for thread in threads:
            thread.start()
        try:
            for pieces in stream(self):
                self._raise()
                self._collect(pieces)
            self._outbox.put(None)
            while threads[1].is_alive():
                threads[1].join(_LOOK)
                self._tell()
        finally:
            self._stop.set()
            self._outbox.put(None)
            for thread in threads:
                thread.join()
        self._raise()
        self._tell()
        return self.tally

    @property
    def ended(self) -> bool:
        """Whether no frame comes any more; with :meth:`take` a feed of images."""
        return not (self._open or self._again)

    def take(self) -> Enlargement | None:
        """The next frame that is to be computed, if one comes soon."""
        until = time.monotonic() + LINGER
        while not self.ended:
            self._raise()
            if self._again:
                return self._enlarge(self._again.popleft())
            try:
                work = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if work is None:
                self._open = False
            elif work.pixels is None or self.steps.passes == 0:
                self._outbox.put(work)
            else:
                return self._enlarge(work)
        return None

    def _enlarge(self, work: _Work) -> Enlargement:
        picture = self.upscaler.enlargement(work.pixels, consume=True)
        work.pixels = None
        work.steps += 1
        self._working[picture] = work
        return picture

    def _collect(self, pieces: list[Piece]) -> None:
        for picture in dict.fromkeys(piece.picture for piece in pieces):
            work = self._working.get(picture)
            if picture.error is not None:
                raise picture.error
            if work is None or not picture.finished:
                continue
            del self._working[picture]
            self.tally.tiles += picture.done
            self.tally.again += picture.again
            work.pixels = picture.result
            if work.steps < self.steps.passes:
                self._again.append(work)
            else:
                self._outbox.put(work)
        self._tell()

    def _tell(self) -> None:
        tally = self.tally
        self.on_position(
            Position(
                frame=tally.frames,
                frames=self.source.facts.expected,
                computed=tally.encoded,
                seconds=time.monotonic() - self._begun,
                size=self.sink.size,
            )
        )

    def _decode(self) -> None:
        """The decoder thread."""
        before: tuple[int, tuple[Plane, ...]] | None = None
        had: dict[int, bool] = {}
        order = 0
        facts = self.source.facts
        for frame in self.source.frames():
            part = frame.number // FRAMES
            if part not in had:
                had = {part: self.sink.has(part)}
            self.tally.parts = part + 1
            if had[part]:
                self.tally.kept += 1
                self._check()
                continue
            same = self.reuse and before is not None and before[0] == part
            same = same and before is not None and _equal(before[1], frame.planes)
            work = _Work(order, frame, part)
            self._take_place()
            if same:
                self.tally.reused += 1
            else:
                work.pixels = rgb_of(frame.planes, facts.layout, facts.colour)
                before = (part, frame.planes)
            self._inbox.put(work)
            order += 1
        self._inbox.put(None)

    def _encode(self) -> None:
        """The encoder thread."""
        planes: tuple[Plane, ...] = ()
        for work in self._in_order():
            if work.pixels is not None:
                planes = planes_of(self._shown(work.pixels), self.recipe.layout, self.recipe.colour)
                work.pixels = None
            self.sink.put(work.part, planes, work.frame.pts, work.frame.duration)
            self.tally.encoded += 1
            self._places.release()
        self.sink.end()

    def _in_order(self) -> Iterator[_Work]:
        """Frames as they were decoded: those of several passes are finished out of turn."""
        waiting: dict[int, _Work] = {}
        following = 0
        while (work := self._outbox.get()) is not None:
            self._check()
            waiting[work.order] = work
            while following in waiting:
                yield waiting.pop(following)
                following += 1
        self._check()

    def _shown(self, pixels: Any) -> Any:
        """A frame in the size that was asked for, before the background if it has to be."""
        if pixels.shape[:2] != self.steps.final:
            large = pixels
            pixels = np.empty((*self.steps.final, *large.shape[2:]), large.dtype)
            shrink(large, pixels, linear=self.linear_light)
        if self.background is not None and pixels.shape[2] == 4 and not self.recipe.layout.alpha:
            pixels = over(pixels, self.background)
        return pixels

    def _count_places(self) -> int:
        facts = self.source.facts
        sizes = [facts.height * facts.width, *(h * w for h, w in self.steps.results)]
        sample = 1 if facts.layout.bits == 8 else 2
        each = sum(sizes) * (4 if facts.layout.alpha else 3) * sample
        tiles = self.upscaler.tiles(facts.height, facts.width)
        engines = count_of(self.upscaler.engine)
        needed = 2 + -(-2 * engines * self.upscaler.engine.input.batch // tiles)
        left = self.memory - 8 * _FLOATS * max(sizes)
        return max(needed, min(engines * MOST_PLACES, left // each))

    def _take_place(self) -> None:
        while not self._places.acquire(timeout=_LOOK):
            self._check()
        self._check()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Ended

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Ended:
            pass
        except BaseException as error:  # raised again in the caller's thread
            self._errors.append(error)
            self._stop.set()

    def _raise(self) -> None:
        if self._errors:
            raise self._errors[0]


def _equal(before: tuple[Plane, ...], now: tuple[Plane, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(before, now, strict=True))


def require_permitted(source: Source, most: int) -> None:
    """Refuse frames that are too large.

    Raises:
        PictureError: they have more pixels than ``most``.
    """
    facts = source.facts
    if facts.height * facts.width > most:
        raise PictureError(
            f"its frames have {facts.width}x{facts.height} pixels, and at most {most:,} are "
            "permitted: raise the limit, --max-pixels, if the file is to be trusted"
        )
