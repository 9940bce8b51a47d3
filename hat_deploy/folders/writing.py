"""How a result is written: to a hidden folder, then its journal line, then its own name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hat_deploy import images
from hat_deploy.files import sha256, staged
from hat_deploy.folders.places import anywhere
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.places.stores import store_of
from hat_deploy.images import Picture


class Taken(Exception):
    """Another program wrote a file where the result was to go."""


@dataclass(frozen=True)
class Place:
    """Where a result goes, and what was there when the work on it began."""

    target: Location
    before: tuple[int, ...] | None = None
    """Device, inode, size and time of change, of an object the last two; None if nothing was
    there."""
    forced: bool = True
    """Whether the result replaces whatever is there in the end."""

    @classmethod
    def now(cls, target: Location, *, forced: bool) -> Self:
        """The place as it is now."""
        return cls(target, _standing(target), forced)

    def check(self) -> None:
        """Refuse a place that has changed.

        Raises:
            Taken: it is not.
            OSError: that cannot be told.
        """
        if not self.forced and _standing(self.target) != self.before:
            raise Taken

    def put(self, path: Path) -> None:
        """Give a finished file its name; one that replaces another takes over its permissions.

        Raises:
            Taken: there is a file that was not there before.
            OSError, StoreError: it cannot be done.
        """
        if isinstance(self.target, Remote):
            store_of(self.target).upload(path, self.target)
            return
        if self.forced or self.before is not None:
            self.check()
            _keep_mode(path, self.target)
            path.replace(self.target)
            return
        try:
            os.link(path, self.target)
        except FileExistsError as error:
            raise Taken from error
        except OSError:  # a file system without hard links
            _put_without_links(path, self.target)


def _put_without_links(path: Path, target: Path) -> None:
    """Take the name first, which only one can do, and then give it to the file."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise Taken from error
    try:
        path.replace(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def write(
    picture: Picture,
    place: Place,
    *,
    quality: int,
    changed: int | None = None,
    codecs: AbstractContextManager[object] | None = None,
    record: Callable[[int, str], None] = lambda size, sha256: None,
) -> tuple[str, ...]:
    """Encode and write an image; the file appears under its name whole or not at all.

    Args:
        picture: its pixels may be overwritten.
        place: where it goes, and whether it may replace what came there meanwhile.
        changed: its time of change in nanoseconds; None for now.
        codecs: entered while it is encoded.
        record: given size and SHA-256 before the file gets its name.

    Returns:
        Notes on what the format could not hold.

    Raises:
        PictureError: the format cannot hold the image, or the file cannot be written.
        Taken: another program wrote a file there.
        OSError, StoreError: the file cannot be written.
    """

    def fill(path: Path) -> tuple[str, ...]:
        with codecs or nullcontext():
            return images.write(picture, path, quality=quality, consume=True)

    return write_whole(fill, place, changed=changed, record=record)


def write_whole(
    fill: Callable[[Path], tuple[str, ...]],
    place: Place,
    *,
    changed: int | None = None,
    record: Callable[[int, str], None] = lambda size, sha256: None,
) -> tuple[str, ...]:
    """Have a file written and give it its name; arguments and errors as :func:`write`.

    Args:
        fill: writes the file of a path, and returns notes.
    """
    with staged(anywhere.workshop(place.target) / place.target.name) as path:
        notes = fill(path)
        if changed is not None:
            os.utime(path, ns=(changed, changed))
        if isinstance(place.target, Path):
            _sync(path)  # else a power cut could leave zeros under the name
        place.check()
        record(path.stat().st_size, sha256(path))
        place.put(path)
    return notes


def _sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _standing(target: Location) -> tuple[int, ...] | None:
    if isinstance(target, Remote):
        found = store_of(target).standing(target)
        return None if found is None else (found.size, found.mtime_ns)
    try:
        status = target.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _keep_mode(path: Path, target: Path) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISREG(mode):
        with suppress(OSError):  # a file system without permissions
            path.chmod(mode & 0o777)
