"""Which process works on which result, so that runs on one folder share it and never collide.

A claim is a lock on one byte of the journal, far beyond its end, at a place that the result's
name decides. In the same way every run holds a shared lock on a byte that its settings decide,
so that runs that would make different results do not mix them in one folder. The kernel gives
all of it back however a process ends. Where a file system has no such locks, one process takes
the whole folder by a file with its id.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from hat_deploy.errors import UsageError
from hat_deploy.files import open_plain
from hat_deploy.terminal.printable import display_name

if sys.platform != "win32":
    import fcntl

FOLDER_LOCK = ".hat-deploy-lock"
_FIRST = 1 << 40
_SPAN = 1 << 56
_RUNS = 1 << 58
_PROBE, _DOOR = _FIRST - 1, _FIRST - 2
_BUSY = (errno.EACCES, errno.EAGAIN)
_LARGEST_LOCK = 4096
_LARGEST_PID = 2**31

_here: set[tuple[Path, int]] = set()
"""Claims of this process: to the kernel all of its threads are one."""
_at_work: Counter[tuple[Path, int]] = Counter()
"""Folders that this process works in, and the settings' bytes."""
_retired: dict[Path, list[int]] = {}
"""Descriptors to be closed with the last claims: closing one drops the locks of all."""
_guard = threading.RLock()


class FolderBusy(UsageError):
    """Another run, with other settings, is at work in the folder."""


class Claims:
    """Claims on the results of one folder. Made inside :func:`arriving`.

    Args:
        descriptor: the folder's journal, open for reading and writing.
        folder: the folder.
        settings: all that decides what results look like, as text.

    Raises:
        FolderBusy: a run with other settings is at work here.
        UsageError: there are no locks here, and another run has the folder.
    """

    def __init__(self, descriptor: int, folder: Path, settings: str = "") -> None:
        self._descriptor = descriptor
        self._place = folder.resolve()
        self._mine: set[int] = set()
        self._run = _number(settings, _RUNS)
        self._whole = None if _locks_work(descriptor) else _FolderLock(folder)
        self.alone = True
        """Whether no other run was at work here when this one came."""
        if self._whole is None:
            self._join(folder)
        _at_work[self._place, self._run] += 1

    def move(self, descriptor: int) -> None:
        """Go on with a new journal, which nobody else has seen yet; the old one stays open."""
        if self._whole is None:
            _lock(descriptor, self._run, shared=True)
        self._descriptor = descriptor

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

    def close(self) -> None:
        """Give all back; closing the journal is the caller's, by :func:`close`."""
        with _guard:
            for number in list(self._mine):
                self._forget(number)
            _at_work[self._place, self._run] -= 1
            if not _at_work[self._place, self._run]:
                del _at_work[self._place, self._run]
                if self._whole is None:
                    _unlock(self._descriptor, self._run)
        if self._whole is not None:
            self._whole.release()

    def _forget(self, number: int) -> None:
        self._mine.discard(number)
        _here.discard((self._place, number))
        if self._whole is None:
            _unlock(self._descriptor, number)

    def _join(self, folder: Path) -> None:
        """Take this run's own byte unless somebody has another one."""
        ours = {number for place, number in _at_work if place == self._place}
        if ours:
            self.alone = False
            if ours != {self._run}:
                raise _busy(folder)
            return
        if not _lock(self._descriptor, _RUNS, _SPAN):
            self.alone = False
            behind = self._run + 1
            for start, length in ((_RUNS, self._run - _RUNS), (behind, _RUNS + _SPAN - behind)):
                if length and not _lock(self._descriptor, start, length):
                    _unlock(self._descriptor, _RUNS, _SPAN)
                    raise _busy(folder)
        _lock(self._descriptor, self._run, shared=True)
        if self._run > _RUNS:
            _unlock(self._descriptor, _RUNS, self._run - _RUNS)
        _unlock(self._descriptor, self._run + 1, _RUNS + _SPAN - self._run - 1)


@contextmanager
def arriving(descriptor: int) -> Iterator[None]:
    """Be the only one to begin or to renew a journal inside the block, where there are locks."""
    with _guard:
        locked = _locks_work(descriptor)
        if locked and sys.platform != "win32":
            fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, _DOOR)
        try:
            yield
        finally:
            if locked:
                _unlock(descriptor, _DOOR)


def close(descriptor: int, folder: Path) -> None:
    """Close a journal's descriptor, once no claim of this process depends on it."""
    with _guard:
        place = folder.resolve()
        waiting = _retired.setdefault(place, [])
        waiting.append(descriptor)
        if not any(where == place for where, _ in _at_work):
            for one in _retired.pop(place):
                os.close(one)


def _forget_all() -> None:
    """A forked process has none of the locks that its parent has."""
    global _guard
    _guard = threading.RLock()
    for found in (_here, _at_work, _retired):
        found.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _busy(folder: Path) -> FolderBusy:
    return FolderBusy(
        f"another hat-deploy with another model or other settings is working in "
        f"{display_name(folder)}: wait for it, or use another folder"
    )


def _number(name: str, first: int = _FIRST) -> int:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return first + int.from_bytes(digest[:7], "big")


def _locks_work(descriptor: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        _lock(descriptor, _PROBE)
        _unlock(descriptor, _PROBE)
    except OSError:
        return False
    return True


def _lock(descriptor: int, start: int, length: int = 1, *, shared: bool = False) -> bool:
    if sys.platform == "win32":
        return False
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB, length, start)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _unlock(descriptor: int, start: int, length: int = 1) -> None:
    if sys.platform != "win32":
        fcntl.lockf(descriptor, fcntl.LOCK_UN, length, start)


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
        except OSError:  # a file system without hard links
            return self._create_without_links()
        finally:
            draft.unlink()
        return True

    def _create_without_links(self) -> bool:
        try:
            with self._path.open("xb", buffering=0) as file:
                file.write(self._content)
        except FileExistsError:
            return False
        return True

    def _remove_stale(self) -> None:
        """Remove the file of a dead process.

        Raises:
            UsageError: its process lives, or nobody here can tell, or it is no file.
        """
        try:
            content = self._read(self._path)
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
        if self._read(aside) != content:  # somebody was faster, and this is their new one
            os.link(aside, self._path)
        aside.unlink()

    def release(self) -> None:
        with suppress(FileNotFoundError, UsageError):
            if self._read(self._path) == self._content:
                self._path.unlink()

    def _read(self, path: Path) -> bytes:
        """At most what a lock file can have, and one byte more."""
        descriptor = open_plain(path, os.O_RDONLY, "lock file")
        try:
            return os.read(descriptor, _LARGEST_LOCK + 1)
        finally:
            os.close(descriptor)


def _living_holder(content: bytes) -> str | None:
    """Who holds a lock file, for people; None if that process is known to be gone."""
    try:
        holder = json.loads(content)
        host, pid = holder["host"], holder["pid"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # files appear whole: this is none of ours, or was damaged
    if not isinstance(host, str) or type(pid) is not int or not 0 < pid < _LARGEST_PID:
        return None  # as above
    if host != socket.gethostname():
        return f"process {pid} on {display_name(host)}"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return f"process {pid}"
