"""Files that others never see half of, places that are what they seem, one process at a time.

Which way to write a file:

- :func:`write` for bytes that the user asked for; it says what cannot be written.
- :func:`replacing` where something else fills the file; an earlier one stays until that is done.
- :func:`temporary` where the name depends on the content, or there is none.
- :func:`staged` for results of a folder run: the caller gives the name, so that the journal has
  its line before and no other program's file is replaced; what a killed process leaves is found
  by :func:`remove_abandoned`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from filelock import FileLock, Timeout

from hat_deploy.errors import UsageError

if sys.platform != "win32":
    import fcntl

_GUARDS = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
_STAGING = re.compile(r"\.hat-deploy-[0-9a-f]{12}\.part")
_ONLY_FOLDERS = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def temporary(folder: Path, suffix: str) -> Iterator[Path]:
    """A free path in ``folder``, made if need be; whatever is there at the end is removed.

    The name keeps ``suffix``, so that libraries which judge by it agree, and starts with a
    dot, so that folder runs ignore it.

    Raises:
        OSError: the folder cannot be made.
    """
    make_folder(folder)
    path = folder / f".{token_hex(6)}.part{suffix}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when the block succeeds.

    On any error, Ctrl-C included, it is removed and an earlier ``target`` stays as it was.

    Raises:
        OSError: the folder cannot be made or written.
    """
    with temporary(target.parent, target.suffix) as partial:
        yield partial
        partial.replace(target)


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A path to be filled and given the name ``target``, in a folder that goes with the block.

    The folder is hidden, lies beside the target and takes whatever else a library leaves there.
    It is locked, which tells it from one that a dead process left.

    Raises:
        OSError: the folder cannot be made.
    """
    make_folder(target.parent)
    folder, descriptor = _staging_folder(target.parent)
    try:
        yield folder / f"result{target.suffix}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_abandoned(folders: Iterable[Path]) -> int:
    """Remove what :func:`staged` left in folders when its process was killed; say how many.

    Those of living processes stay; so do all where locks do not work, and what is not a folder.
    """
    removed = 0
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                names = [e.name for e in entries if _STAGING.fullmatch(e.name)]
        except OSError:
            continue
        removed += sum(_remove_unlocked(folder / name) for name in names)
    return removed


def write(target: Path, content: bytes, what: str) -> None:
    """Write a file that the user asked for, whole or not at all.

    Args:
        target: replaced if it is there.
        what: it is, for the message: ``report``, ``plot``.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with replacing(target) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise UsageError(f"the {what} {target} cannot be written: {error.strerror}") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of(data: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, however deep; one that is there will do.

    Raises:
        OSError: it cannot be made.
    """
    missing: list[Path] = []
    place = folder
    while True:
        try:
            place.mkdir(exist_ok=True)
        except FileNotFoundError:
            if place.parent == place:
                raise
            missing.append(place)
            place = place.parent
        else:
            break
    for below in reversed(missing):
        below.mkdir(exist_ok=True)


@contextmanager
def alone(path: Path, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Be the only one, among those who name the same path, inside the block.

    The lock goes with its process, however that ends. On a file system without locks nobody
    waits: what is done inside must be safe without it.

    Args:
        path: of a file that is there while somebody is inside.
        on_wait: called once if somebody else is inside.

    Raises:
        UsageError: the path is a link, a pipe or the like.
        OSError: the file cannot be made.
    """
    _require_plain(path, "lock file")
    lock = FileLock(path, fallback_to_soft=False)
    _acquire(lock, on_wait)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file: there the release does it
            path.unlink()
        lock.release()


def hold(path: Path) -> bool:
    """Keep :func:`remove_unheld` from removing a file until this process ends.

    Where locks do not work it does nothing.

    Returns:
        Whether the file is there.
    """
    if sys.platform == "win32":
        return path.exists()  # what is open cannot be removed there
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return path.exists()
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        same = os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:  # it was removed before it was locked
        same = False
    if not same or path in _held:
        os.close(descriptor)
    else:
        _held[path] = descriptor
    return same


def remove_unheld(path: Path) -> bool:
    """Remove a file unless a process holds it; returns whether it is gone.

    Raises:
        OSError: it cannot be removed.
    """
    if sys.platform == "win32":
        path.unlink(missing_ok=True)
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | _GUARDS)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    except OSError:  # a file system without locks
        pass
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    return True


_held: dict[Path, int] = {}
"""Descriptors of the files that :func:`hold` keeps."""


def open_plain(path: Path, flags: int, what: str) -> int:
    """``os.open`` for a regular file alone: follows no link and waits for no pipe.

    Args:
        flags: of ``os.open``; what they create may be read and written as the umask says.
        what: it is, for the message: ``journal``, ``lock``.

    Returns:
        A file descriptor.

    Raises:
        UsageError: something else has the name.
        OSError: it cannot be opened.
    """
    _require_plain(path, what)
    descriptor = os.open(path, flags | _GUARDS, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        _require_plain(path, what)
        raise UsageError(f"the {what} {path} is no longer a plain file")
    return descriptor


def kind_of(mode: int) -> str:
    """What a file is by the mode that ``lstat`` gives: ``a folder``."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _require_plain(path: Path, what: str) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise UsageError(f"the {what} {path} is {kind_of(mode)}, not a plain file: remove it")


def _acquire(lock: FileLock, on_wait: Callable[[], object]) -> None:
    """Wait for a lock; do without where the file system has none."""
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            on_wait()
            lock.acquire()
    except OSError as error:
        if error.filename is not None:  # the file itself cannot be opened
            raise


def _staging_folder(folder: Path) -> tuple[Path, int]:
    while True:
        made = folder / f".hat-deploy-{token_hex(6)}.part"
        made.mkdir(mode=0o700)  # what is made may replace a private file
        try:
            descriptor = os.open(made, os.O_RDONLY)
        except FileNotFoundError:
            continue  # swept away in the moment before it was locked
        _lock_folder(descriptor, wait=True)
        try:
            if os.path.samestat(made.stat(), os.fstat(descriptor)):
                return made, descriptor
        except FileNotFoundError:
            pass  # as above
        os.close(descriptor)


def _remove_unlocked(folder: Path) -> bool:
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return False
        descriptor = os.open(folder, os.O_RDONLY | _ONLY_FOLDERS)
    except OSError:
        return False
    try:
        if not _lock_folder(descriptor):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    finally:
        os.close(descriptor)


def _lock_folder(descriptor: int, *, wait: bool = False) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
