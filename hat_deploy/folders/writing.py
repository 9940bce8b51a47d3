"""A result's way to its name: a hidden folder beside it, a journal line, a name of its own."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Self

from hat_deploy.files import make_folder

if sys.platform != "win32":
    import fcntl

_WORKSHOP = re.compile(r"\.hat-deploy-[0-9a-f]{12}\.part")
_ONLY_FOLDERS = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


class Taken(Exception):
    """Another program wrote a file where the result was to go."""


@dataclass(frozen=True)
class Place:
    """The name of a result, and what had it when the work on the result began."""

    target: Path
    before: tuple[int, ...] | None = None
    """Device, inode, size and time of change; None if nothing was there."""
    forced: bool = True
    """Whether the result replaces whatever is there in the end."""

    @classmethod
    def now(cls, target: Path, *, forced: bool) -> Self:
        """The place as it is."""
        return cls(target, _standing(target), forced)

    def check(self) -> None:
        """Refuse a place that is not as it was.

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
            OSError: it cannot be done.
        """
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
            self._put_without_links(path)

    def _put_without_links(self, path: Path) -> None:
        """Take the name first, which only one can do, and then give it to the file."""
        try:
            os.close(os.open(self.target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError as error:
            raise Taken from error
        try:
            path.replace(self.target)
        except BaseException:
            self.target.unlink(missing_ok=True)
            raise


@contextmanager
def workshop(target: Path) -> Iterator[Path]:
    """A path to be filled and given the name ``target``, in a folder that goes with the block.

    The folder is hidden, lies beside the target, holds whatever else a library leaves there,
    and is locked: :func:`sweep` knows it from one that a dead process left.

    Raises:
        OSError: the folder cannot be made.
    """
    make_folder(target.parent)
    folder, descriptor = _create(target.parent)
    try:
        yield folder / f"result{target.suffix}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk.

    Raises:
        OSError: it does not get there.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sweep(folders: Iterable[Path]) -> int:
    """Remove what killed runs left in folders, and say how many pieces of work that were.

    Those of living processes stay; so do all where locks do not work, and what is no folder.
    """
    removed = 0
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                names = [e.name for e in entries if _WORKSHOP.fullmatch(e.name)]
        except OSError:
            continue
        removed += sum(_remove_abandoned(folder / name) for name in names)
    return removed


def _standing(target: Path) -> tuple[int, ...] | None:
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


def _create(folder: Path) -> tuple[Path, int]:
    while True:
        made = folder / f".hat-deploy-{token_hex(6)}.part"
        made.mkdir(mode=0o700)  # what is made may replace a private file
        try:
            descriptor = os.open(made, os.O_RDONLY)
        except FileNotFoundError:
            continue  # swept away in the moment before it was locked
        _lock(descriptor, wait=True)
        try:
            if os.path.samestat(made.stat(), os.fstat(descriptor)):
                return made, descriptor
        except FileNotFoundError:
            pass  # as above
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> bool:
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return False
        descriptor = os.open(folder, os.O_RDONLY | _ONLY_FOLDERS)
    except OSError:
        return False
    try:
        if not _lock(descriptor):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = False) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
