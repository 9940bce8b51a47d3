"""From a file's name to an image in memory, with its size known before it is decoded."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hat_deploy.errors import PictureError
from hat_deploy.folders.places import anywhere
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.places.stores import store_of
from hat_deploy.images.kinds import inspect, size_of

LARGEST_HEADER = 2**26
"""Bytes that a file may have beside its samples."""
HEAD = 2**16
"""Bytes of an object that are read for its size."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file read, and what it says about its image."""

    data: bytes
    mtime_ns: int
    height: int
    width: int
    """As stored: an orientation may swap them."""
    frames: int = 1

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def most_bytes(self) -> int:
        """An upper bound on the bytes of the decoded image."""
        deep = (
            self.data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
            or (self.data[:4] == b"\x89PNG" and self.data[24] == 16)
            or self.data[4:8] == b"ftyp"
        )
        return self.frames * self.height * self.width * 4 * (2 if deep else 1)

    @property
    def most_decoding_bytes(self) -> int:
        """An upper bound on what decoding takes at its peak, beside the file.

        The decoder's own image, with its coefficients or a strip of a TIFF as large as the
        image, or with the copy that leaves the decoder; of an AVIF also its planes.
        """
        if self.data[4:8] == b"ftyp":
            return 6 * self.most_bytes
        return (4 if self.data[:3] == b"GIF" else 3) * self.most_bytes


def read(path: Location, *, max_pixels: int) -> Source:
    """Read a file and its header; nothing is decoded.

    Raises:
        PictureError: it cannot be read, is not an image, or is too large.
        StoreError: it is not to be had from its store.
    """
    if isinstance(path, Remote):
        standing = anywhere.standing(path)
        _require_plausible(standing.size, max_pixels)
        data, mtime_ns = store_of(path).read(path), standing.mtime_ns
    else:
        with _readable():
            mtime_ns = _status(path, max_pixels).st_mtime_ns
            data = path.read_bytes()
    header = inspect(data)
    _require_permitted(header.height, header.width, max_pixels)
    return Source(
        data=data,
        mtime_ns=mtime_ns,
        height=header.height,
        width=header.width,
        frames=max(1, header.frames) if header.moving else 1,
    )


def read_size(path: Location, *, max_pixels: int) -> tuple[int, int]:
    """Height and width of an image, as stored, by its header: little of the file is read.

    Damage behind the header is found when the file is decoded.

    Raises:
        PictureError: it cannot be read, is not an image, or is too large.
        StoreError: it is not to be had from its store.
    """
    if isinstance(path, Remote):
        height, width = _remote_size(path, max_pixels)
        _require_permitted(height, width, max_pixels)
        return height, width
    with _readable():
        if not _status(path, max_pixels).st_size:
            raise PictureError("the file is empty")
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            height, width = size_of(data)
    _require_permitted(height, width, max_pixels)
    return height, width


def _remote_size(path: Remote, max_pixels: int) -> tuple[int, int]:
    """By an object's first bytes, or all of it where they do not tell."""
    _require_plausible(anywhere.standing(path).size, max_pixels)
    try:
        return size_of(store_of(path).read(path, first=HEAD))
    except PictureError:
        return size_of(store_of(path).read(path))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PictureError(f"it cannot be read: {error.strerror or error}") from error


def _status(path: Path, max_pixels: int) -> os.stat_result:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("it is no longer a regular file")
    _require_plausible(status.st_size, max_pixels)
    return status


def _require_plausible(size: int, max_pixels: int) -> None:
    if size > 8 * max_pixels + LARGEST_HEADER:
        raise PictureError(
            f"the file has {size / 2**20:,.0f} MiB, more than an image of the permitted size can "
            "need"
        )


def _require_permitted(height: int, width: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureError(
            f"it has {width}x{height} pixels, and at most {max_pixels:,} are "
            f"permitted: raise the limit, --max-pixels, if the file is to be trusted"
        )
