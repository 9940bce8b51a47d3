"""Writing files so that nobody ever sees half of one, and so that no other file is hit."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from hat_deploy.errors import UsageError

_GUARDS = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))


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
