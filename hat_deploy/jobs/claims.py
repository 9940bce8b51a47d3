"""Which process works on which result, so that runs on one folder share it and never collide.

A claim is a lock on one byte of the journal, far beyond its end, at a place that the result's
name decides. The kernel gives it back however its process ends. Where a file system has no such
locks, one process takes the whole folder by a file with its id.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
import threading
from pathlib import Path
from secrets import token_hex

from hat_deploy.errors import UsageError

if sys.platform != "win32":
    import fcntl

FOLDER_LOCK = ".hat-deploy-lock"
_FIRST = 1 << 40
_BUSY = (errno.EACCES, errno.EAGAIN)

_here: set[tuple[Path, int]] = set()
"""Claims of this process: to the kernel all of its threads are one."""
_guard = threading.Lock()


class Claims:
    """Claims on the results of one folder.

    Args:
        descriptor: the folder's journal, open for writing.
        folder: the folder.

    Raises:
        UsageError: there are no locks here, and another run has the folder.
    """

    def __init__(self, descriptor: int, folder: Path) -> None:
        self._descriptor = descriptor
        self._place = folder.resolve()
        self._mine: set[int] = set()
        self._whole = None if _locks_work(descriptor) else _FolderLock(folder)

    def take(self, name: str) -> bool:
        """Claim a result; False if somebody else has it."""
        number = _number(name)
        with _guard:
            if (self._place, number) in _here:
                return False
            if self._whole is None and not _lock(self._descriptor, number):
                return False
            _here.add((self._place, number))
            self._mine.add(number)
        return True

    def drop(self, name: str) -> None:
        """Give a claim back."""
        number = _number(name)
        with _guard:
            if number in self._mine:
                self._forget(number)
                if self._whole is None:
                    _unlock(self._descriptor, number)

    def close(self) -> None:
        """Give all back; closing the journal is the caller's."""
        with _guard:
            for number in list(self._mine):
                self._forget(number)
        if self._whole is not None:
            self._whole.release()

    def _forget(self, number: int) -> None:
        self._mine.discard(number)
        _here.discard((self._place, number))


def _number(name: str) -> int:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return _FIRST + int.from_bytes(digest[:7], "big")


def _locks_work(descriptor: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        _lock(descriptor, _FIRST - 1)
        _unlock(descriptor, _FIRST - 1)
    except OSError:
        return False
    return True


def _lock(descriptor: int, number: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _unlock(descriptor: int, number: int) -> None:
    if sys.platform != "win32":
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, number)


class _FolderLock:
    """A file that exists while a process works in a folder; one of a dead process is no bar."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FOLDER_LOCK
        own = {"host": socket.gethostname(), "pid": os.getpid(), "token": token_hex(8)}
        self._content = json.dumps(own).encode()
        while not self._create():
            self._remove_stale()

    def _create(self) -> bool:
        """Take a file that nobody ever sees half written, under its final name."""
        draft = self._path.with_name(f"{FOLDER_LOCK}-{token_hex(6)}")
        draft.write_bytes(self._content)
        try:
            os.link(draft, self._path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def _remove_stale(self) -> None:
        """Remove the file of a dead process.

        Raises:
            UsageError: its process lives, or nobody here can tell.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        if (holder := _living_holder(content)) is not None:
            raise UsageError(
                f"another hat-deploy ({holder}) is working in {self._path.parent}: wait for it, "
                f"use another folder, or remove {self._path} if it is gone"
            )
        aside = self._path.with_name(f"{FOLDER_LOCK}-{token_hex(6)}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        if aside.read_bytes() != content:  # somebody was faster, and this is their new one
            os.link(aside, self._path)
        aside.unlink()

    def release(self) -> None:
        try:
            if self._path.read_bytes() == self._content:
                self._path.unlink()
        except FileNotFoundError:
            pass


def _living_holder(content: bytes) -> str | None:
    """Who holds a lock file, for people; None if that process is known to be gone."""
    try:
        holder = json.loads(content)
        host, pid = str(holder["host"]), int(holder["pid"])
    except (ValueError, TypeError, KeyError):
        return None  # files appear whole: this is none of ours, or was damaged
    if host != socket.gethostname():
        return f"process {pid} on {host}"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return f"process {pid}"
