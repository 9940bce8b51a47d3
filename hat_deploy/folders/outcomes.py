"""What a run is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hat_deploy.errors import UsageError
from hat_deploy.folders.job_list import Job
from hat_deploy.images import MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run goes about its jobs."""

    quality: int = 95
    """1 to 100, of JPEG and WebP; 100 is lossless WebP."""
    overwrite: bool = False
    """Redo results that exist, whatever the journal says."""
    fail_fast: bool = False
    """Stop after the first picture that cannot be processed."""
    memory: int | None = None
    """Bytes of decoded pictures and their results held at once; None takes a quarter of what is
    free. A picture that needs more goes alone; a result that is larger is put together in a
    nameless file on the disk it is for. On top come the engine's own memory and, for each codec
    thread (at most six), the file it reads or 128 MiB (24 bytes a pixel of a WebP)."""
    max_pixels: int = MAX_PIXELS
    """Pictures with more are refused before they are decoded."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality is {self.quality}; it goes from 1 to 100")
        if self.memory is not None and self.memory < 1:
            raise UsageError(f"memory is {self.memory} bytes; it must be at least 1")
        if self.max_pixels < 1:
            raise UsageError(f"max_pixels is {self.max_pixels}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class _OfAJob:
    job: Job

    @property
    def source(self) -> Path:
        """The file to read."""
        return self.job.source

    @property
    def target(self) -> Path:
        """The file to write."""
        return self.job.target


@dataclass(frozen=True, kw_only=True)
class Done(_OfAJob):
    """A picture written."""

    seconds: float
    """From the moment its file was opened; pictures overlap."""
    tiles: int
    notes: tuple[str, ...] = ()
    """What decoding changed."""


@dataclass(frozen=True, kw_only=True)
class Skipped(_OfAJob):
    """A picture whose result was left as it is."""

    reason: str | None = None
    """Why, as a clause about the result; None if it is what this run would have made."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A picture that could not be processed; nothing was written for it."""

    source: Path
    target: Path | None = None
    """The file that would have been written; None for what could not become a job."""
    reason: str
    tried: bool = True
    """False if the run ended before its turn."""


Outcome = Done | Skipped | Failed


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is."""

    settled: int
    """Jobs whose outcome is known."""
    jobs: int
    source: Path | None
    """The picture whose tile came last, or whose outcome became known; None for a tile of a
    picture that has failed."""
    tiles_done: int = 0
    """Of that picture's ``tiles``; both are 0 where its outcome became known."""
    tiles: int = 0


OnProgress = Callable[[Progress], None]
