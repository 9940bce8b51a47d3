"""The options of a run, and the outcomes that it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hat_deploy.errors import UsageError
from hat_deploy.folders.job_list import Job, Rejected
from hat_deploy.folders.places.remote import Location
from hat_deploy.folders.shards import WHOLE, Shard
from hat_deploy.images import MAX_PIXELS, Colour
from hat_deploy.tiles.target_size import TargetSize
from hat_deploy.video.options import VideoOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of a run."""

    quality: int = 95
    """For JPEG, WebP and AVIF, 1 to 100; 100 makes a WebP or an AVIF lossless."""
    overwrite: bool = False
    """Redo results that exist, whatever the journal says."""
    fail_fast: bool = False
    """Stop after the first image that cannot be processed."""
    memory: int | None = None
    """Bytes of decoded images and their results held at once; None takes a quarter of what is
    free. An image that needs more goes alone; a result that is larger is put together in a
    nameless file on the disk it is for. On top come the engine's own memory and, for each codec
    thread (at most six, ten where a GPU computes), the file it reads or 128 MiB (24 bytes a pixel
    of a WebP, 36 of an AVIF)."""
    max_pixels: int = MAX_PIXELS
    """Images with more are refused before they are decoded."""
    size: TargetSize | None = None
    """The size of the results; None for the network's own factor."""
    linear_light: bool = False
    """Average light, not stored values, where a result is shrunk to its size."""

    shard: Shard = WHOLE
    """The run's share of the images, where others do the rest."""
    background: Colour | None = None
    """What lies behind transparent pixels where the format holds none, as JPEG; None refuses
    such images."""
    keep_times: bool = False
    """Give results the time of change of their sources."""
    video: VideoOptions = field(default_factory=VideoOptions)
    """How clips are written."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality is {self.quality}; it goes from 1 to 100")
        if self.memory is not None and self.memory < 1:
            raise UsageError(f"memory is {self.memory} bytes; it must be at least 1")
        if self.max_pixels < 1:
            raise UsageError(f"max_pixels is {self.max_pixels}; it must be at least 1")

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides how every result looks, as JSON types."""
        if self.size is None:
            return {}
        return {"size": dict(self.size.given), "linear_light": self.linear_light}


@dataclass(frozen=True, kw_only=True)
class _WithJob:
    job: Job

    @property
    def source(self) -> Location:
        """The file to read."""
        return self.job.source

    @property
    def target(self) -> Location:
        """The file to write."""
        return self.job.target


@dataclass(frozen=True, kw_only=True)
class Done(_WithJob):
    """An image written."""

    seconds: float
    """Since its file was opened; images overlap in time."""
    tiles: int
    notes: tuple[str, ...] = ()
    """What decoding changed."""
    damaged: tuple[str, ...] = ()
    """What of a clip could not be read, by its time; the rest of it is there."""
    padded: bool = False
    """Whether it was smaller than a tile of one fixed size and padded up to it, which moves its
    pixels away from the whole image's."""


@dataclass(frozen=True, kw_only=True)
class Skipped(_WithJob):
    """An image whose result was left as it is."""

    reason: str | None = None
    """Why, as a clause about the result; None if it is what this run would have made."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """An image that could not be processed; nothing was written for it."""

    source: Location
    target: Location | None = None
    """The file that would have been written; None for what could not become a job."""
    reason: str
    tried: bool = True
    """False if the run ended before its turn."""


Outcome = Done | Skipped | Failed


def refused(rejected: Rejected) -> Failed:
    """The outcome of what cannot be a job."""
    return Failed(source=rejected.source, reason=rejected.reason)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    settled: int
    """Jobs whose outcome is known."""
    jobs: int | None
    """How many there are; None while they are still being listed."""
    source: Location | None
    """The image whose tile was computed last, or whose outcome became known; None for a tile of
    an image that has failed."""
    tiles_done: int = 0
    """Tiles done, out of ``tiles`` of that image; both are 0 where its outcome became known."""
    tiles: int = 0
    clip: ClipProgress | None = None
    """How far the clip is, where ``source`` is one."""


@dataclass(frozen=True, kw_only=True)
class ClipProgress:
    """How far one clip is."""

    frame: int
    """Frames done, those of an earlier run included."""
    frames: int | None
    """In the clip, as far as it says."""
    rate: float
    """Frames a second in this run."""
    size: int
    """Bytes encoded in this run."""

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None if that cannot be told."""
        if not self.frames or not self.rate:
            return None
        return max(0, self.frames - self.frame) / self.rate


OnProgress = Callable[[Progress], None]
