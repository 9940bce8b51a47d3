"""What a run does to one image before and after the engine."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any, TypeVar

import numpy as np

from hat_deploy import images
from hat_deploy.errors import CheckFailed, HatDeployError, PictureError
from hat_deploy.folders import reading
from hat_deploy.folders.budget import Budget, Closed
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.journals import Claimed, FolderUnusable, Journals
from hat_deploy.folders.outcomes import Done, Failed, Options, Outcome, Skipped
from hat_deploy.folders.places import anywhere
from hat_deploy.folders.places.remote import Location
from hat_deploy.folders.writing import Place, Taken, write
from hat_deploy.images import Picture, Pixels
from hat_deploy.tiles.enlargement import Allocate, Enlargement
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.tiles.target_size import Size, Steps, steps_to
from hat_deploy.video.names import is_clip

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


TAKEN = "another program wrote it while this run was at work: --overwrite replaces it"
_ANY_SIZE = 2**48
"""More pixels than any file has."""
_LONGEST_TEXT = 300
"""Characters of a library's message that are shown."""
_OPENCV_MEMORY = -4
"""``cv2.error.code`` where there was no memory."""

_T = TypeVar("_T")


class DiskFull(Exception):
    """No result can be written any more; a clause says where."""


@dataclass(frozen=True)
class Elsewhere:
    """A job that another run is working on."""

    job: Job


@dataclass(eq=False)
class Item:
    """A decoded image on its way to its result."""

    job: Job
    source: tuple[int, int, str]
    """Size, time of change and SHA-256 of the file."""
    place: Place
    picture: Picture
    """As decoded, but for the colours of transparent pixels once its work is made."""
    reserved: int
    """Bytes of the budget it holds."""
    started: float
    steps: Steps
    """Of a frame."""
    works: list[Enlargement] = field(default_factory=list)
    """The pass that is being computed, or the last one: one for each frame."""
    result: Pixels | None = field(default=None)
    """What they write into; the frames lie one below the other."""
    passes: int = 0
    """How many passes have begun."""
    tiles: int = 0
    """Tiles of the passes that have ended."""
    notes: tuple[str, ...] = ()
    """Of the passes that have ended."""
    padded: bool = False
    """Whether a pass padded the image up to the tile."""

    @property
    def pixels(self) -> Pixels:
        """What the next pass takes, or what the last one gave."""
        return self.picture.pixels if self.result is None else self.result

    @property
    def error(self) -> CheckFailed | None:
        """What went wrong with a frame."""
        return next((work.error for work in self.works if work.error is not None), None)

    @property
    def finished(self) -> bool:
        """Whether nothing more is written into the result by this pass."""
        return all(work.finished for work in self.works)

    @property
    def computed(self) -> bool:
        """Whether no pass is to come."""
        return self.error is not None or self.passes == self.steps.passes

    @property
    def progress(self) -> tuple[int, int]:
        """How many tiles of this pass are done, and how many there are."""
        return sum(work.done for work in self.works), sum(work.total for work in self.works)

    def end_pass(self) -> None:
        """Keep what is to be told of the pass that has ended."""
        for work in self.works:
            self.tiles += work.done
            self.notes += work.notes
            self.padded = self.padded or work.padded
        self.works = []


class Stages:
    """Both ends of a run: :meth:`load` and :meth:`save` may be called by any thread.

    What an image holds (its claim and its share of the budget) is taken in ``load`` and
    given back by ``save`` or :meth:`drop`.

    Args:
        codecs: entered around decoding and around encoding, where more threads wait for a store
            than there are cores for.
    """

    def __init__(
        self,
        upscaler: Enlarger,
        options: Options,
        journals: Journals,
        budget: Budget,
        *,
        codecs: AbstractContextManager[object] | None = None,
    ) -> None:
        self._codecs = codecs or nullcontext()
        self._upscaler = upscaler
        self._options = options
        self._journals = journals
        self._budget = budget

    def load(self, job: Job) -> Item | Outcome | Elsewhere:
        """Claim, read and decode.

        Raises:
            Closed: the run is ending.
        """
        try:
            return settled(job, lambda: self._claimed(job))
        except Claimed:
            return Elsewhere(job)

    def enlarge(self, item: Item) -> list[Enlargement]:
        """Prepare an image's next pass, a part for each frame; only for the thread that runs the
        engine.

        A result larger than the budget is put together in a nameless file on the disk it will
        be written to.

        Raises:
            PictureError: no engine here takes it, or there is no room for its result.
            MemoryError: there is no memory for its result.
        """
        item.end_pass()
        frames = images.frames_of(item.pixels, len(item.picture.frames))
        item.result = None
        allocate = self._allocate(item)
        for number, frame in enumerate(frames):

            def part(shape: tuple[int, ...], dtype: np.dtype[Any], number: int = number) -> Pixels:
                if item.result is None:
                    item.result = allocate((shape[0] * len(frames), *shape[1:]), dtype)
                return item.result[number * shape[0] : (number + 1) * shape[0]]

            item.works.append(self._upscaler.enlargement(frame, allocate=part, consume=True))
        item.passes += 1
        return item.works

    def _allocate(self, item: Item) -> Allocate:
        folder = anywhere.workshop(item.job.target)
        return partial(images.blank, folder=folder, memory=self._budget.memory)

    def save(self, item: Item) -> Outcome:
        """Encode and write an image whose work is finished.

        Raises:
            DiskFull: nothing can be written any more; the image was dropped.
        """
        try:
            return settled(item.job, lambda: self._write(item))
        finally:
            self.drop(item)

    def drop(self, item: Item) -> None:
        """Give back what an image holds."""
        self._budget.release(item.reserved)
        self._journals.release(item.job)

    def _claimed(self, job: Job) -> Item | Outcome:
        settings = settings_of(job, self._upscaler.settings, self._options)
        place = self._journals.claim(
            job, settings, overwrite=self._options.overwrite, damaged=self._damaged
        )
        if not isinstance(place, Place):
            return Skipped(job=job, reason=place.reason)
        try:
            return self._decode(job, place)
        except BaseException:
            self._journals.release(job)
            raise

    def _damaged(self, target: Location) -> bool:
        """Whether a result cannot be decoded; takes its share of the budget for it."""
        return damaged(target, self._budget)

    def _decode(self, job: Job, place: Place) -> Item:
        started = time.monotonic()
        limit = self._options.max_pixels
        source = reading.read(job.source, max_pixels=limit)
        stored = source.height, source.width
        held = max(self._held(size, source.most_bytes) for size in (stored, stored[::-1]))
        reserved = max(source.most_decoding_bytes, held)
        self._budget.reserve(reserved)
        try:
            with self._codecs:
                picture = images.decode_bytes(source.data, max_pixels=limit, animations=True)
            if picture.animation:
                images.require_holding(picture, job.target.suffix)
            height, width = picture.frames[0].shape[:2]
            steps = self._steps((height, width))
            steps.check()
        except BaseException:
            self._budget.release(reserved)
            raise
        needed = self._held((height, width), picture.pixels.nbytes)
        self._budget.correct(reserved, needed)
        facts = (len(source.data), source.mtime_ns, source.sha256)
        return Item(job, facts, place, picture, needed, started, steps)

    def _held(self, size: Size, nbytes: int) -> int:
        """The most bytes of memory that an image and what is made of it take at any time.

        A result that is larger than the budget lies on the disk. Two are held while one is made
        of the other.
        """
        area = size[0] * size[1]
        results = [nbytes * height * width // area for height, width in self._steps(size).results]
        counted = [0, *(one if one <= self._budget.memory else 0 for one in results)]
        return nbytes + max(sum(counted[at : at + 2]) for at in range(len(counted)))

    def _steps(self, size: Size) -> Steps:
        return steps_to(self._options.size, size, self._upscaler.scale)

    def _write(self, item: Item) -> Outcome:
        error = item.error
        item.end_pass()
        if error is not None:
            raise error
        frames = images.frames_of(item.pixels, len(item.picture.frames))
        pixels = sized(
            frames, item.steps.final, self._allocate(item), linear=self._options.linear_light
        )
        result = enlarged(item.picture, item.pixels if pixels is None else pixels)
        result = backed(result, item.job.target.suffix, self._options)

        def record(size: int, sha256: str) -> None:
            self._journals.record(
                item.job,
                output=(size, sha256),
                source=item.source,
                settings=settings_of(item.job, self._upscaler.settings, self._options),
            )

        try:
            notes = write(
                result,
                item.place,
                quality=self._options.quality,
                codecs=self._codecs,
                changed=item.source[1] if self._options.keep_times else None,
                record=record,
            )
        except Taken:
            return Skipped(job=item.job, reason=TAKEN)
        return Done(
            job=item.job,
            seconds=time.monotonic() - item.started,
            tiles=item.tiles,
            notes=result.notes + item.notes + notes,
            padded=item.padded,
        )


def sized(
    frames: Sequence[Pixels], size: Size, allocate: Allocate, *, linear: bool
) -> Pixels | None:
    """Frames shrunk to the size that was asked for, one below the other; None if they have it.

    Args:
        allocate: takes shape and dtype by position.
        linear: see :func:`hat_deploy.images.shrink`.
    """
    first = frames[0]
    if first.shape[:2] == size:
        return None
    result = allocate((len(frames) * size[0], size[1], *first.shape[2:]), first.dtype)
    for frame, shrunk in zip(frames, images.frames_of(result, len(frames)), strict=True):
        images.shrink(frame, shrunk, linear=linear)
    return result


def enlarged(picture: Picture, pixels: Pixels) -> Picture:
    """An image with larger pixels, and metadata that fits them."""
    height, width = pixels.shape[:2]
    scale = Fraction(max(height, width), max(picture.pixels.shape[:2]))
    metadata = images.enlarged(picture.metadata, scale=scale, size=(height, width))
    return replace(picture, pixels=pixels, metadata=metadata)


def settings_of(job: Job, settings: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """All but the source that decides what a result looks like, as JSON types.

    Args:
        settings: of the upscaler.
    """
    settings = {**settings, **options.settings}
    if is_clip(job.target):
        settings["video"] = dict(options.video.settings)
        return settings | _behind(options)
    if images.FORMATS[job.target.suffix.lower()] in ("jpeg", "webp", "avif"):
        settings["quality"] = options.quality
    return settings | (_behind(options) if _opaque(job.target.suffix) else {})


def _behind(options: Options) -> dict[str, Any]:
    """The background that was asked for."""
    return {} if options.background is None else {"background": list(options.background)}


def backed(picture: Picture, suffix: str, options: Options) -> Picture:
    """The image laid over the background, if there is one and the format holds no alpha.

    Its pixels may be overwritten.
    """
    if options.background is None or picture.pixels.shape[2:] != (4,) or not _opaque(suffix):
        return picture
    return replace(picture, pixels=images.over(picture.pixels, options.background))


def _opaque(suffix: str) -> bool:
    """Whether a format holds no transparency."""
    return images.FORMATS[suffix.lower()] == "jpeg"


def damaged(target: Location, budget: Budget | None = None) -> bool:
    """Whether a result is broken, so that nothing is lost if it is made again.

    One that is too large for this program, or for the free memory, counts as whole.

    Raises:
        Closed: the run is ending.
    """
    reserved = 0
    try:
        source = reading.read(target, max_pixels=_ANY_SIZE)
        if budget is not None:
            budget.reserve(source.most_bytes)
            reserved = source.most_bytes
        if max(source.height, source.width) > images.MAX_SIDE:
            return False
        images.decode_bytes(source.data, max_pixels=_ANY_SIZE, animations=True)
    except Closed:
        raise
    except PictureError as error:
        return not isinstance(error.__cause__, (OSError, MemoryError))
    except Exception:  # whatever it is, it is not known to be damaged
        return False
    finally:
        if budget is not None and reserved:
            budget.release(reserved)
    return False


def failure(job: Job, error: Exception, *, tried: bool = True) -> Failed:
    """The outcome of an image that met an error."""
    no_memory = getattr(error, "code", None) == _OPENCV_MEMORY
    if isinstance(error, MemoryError) or no_memory:
        reason = "not enough memory for an image of this size"
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        reason = f"{where}{error.strerror or error}"
    elif isinstance(error, (HatDeployError, FolderUnusable)):
        reason = str(error)
    else:  # a library's, or a mistake here: the name says more than the text
        text = " ".join(str(error).split())[:_LONGEST_TEXT]
        reason = f"it cannot be processed: {type(error).__name__}{': ' if text else ''}{text}"
    return Failed(source=job.source, target=job.target, reason=reason, tried=tried)


def settled(job: Job, step: Callable[[], _T]) -> _T | Failed:
    """Do a step; whatever goes wrong with one image becomes its outcome.

    Raises:
        DiskFull, Closed, Claimed: what does not concern one image.
    """
    try:
        return step()
    except FolderUnusable as error:
        return failure(job, error, tried=False)
    except (Closed, Claimed):
        raise
    except Exception as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _FULL:
            raise DiskFull(
                f"no space is left on the disk of {anywhere.workshop(job.target)}"
            ) from error
        return failure(job, error)
