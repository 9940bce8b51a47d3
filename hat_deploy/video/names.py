"""What the names of clips end in, and which container each means."""

from __future__ import annotations

from typing import Protocol

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
}
"""What can be written, by FFmpeg's name of the container."""
READ_ONLY = (
    ".avi",
    ".mpg",
    ".mpeg",
    ".vob",
    ".wmv",
    ".flv",
    ".3gp",
    ".ogv",
    ".mxf",
    ".nut",
    ".y4m",
)
"""What is read and not written: most cannot hold timestamps or the shape of pixels."""
SUFFIXES = (*CONTAINERS, *READ_ONLY)
"""What the names of clips end in, in any case."""
FALLBACK = ".mkv"
"""What results of such sources end in; it holds most kinds of streams."""


class Named(Protocol):
    """Whatever has a suffix, as a path."""

    @property
    def suffix(self) -> str:
        """``.mp4``, as it is written."""


def is_clip(path: Named) -> bool:
    """Whether a file is named like a clip."""
    return path.suffix.lower() in SUFFIXES


def result_suffix(suffix: str) -> str:
    """What the result of a clip ends in unless the user says otherwise.

    >>> result_suffix(".MP4"), result_suffix(".avi")
    ('.MP4', '.mkv')
    """
    return suffix if suffix.lower() in CONTAINERS else FALLBACK
