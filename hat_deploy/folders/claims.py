"""Which process works on which result, so that runs on one folder share it and never collide.

A claim is a lock on one byte of the journal, far beyond its end, at a place that the result's
name decides. In the same way every run holds a shared lock on a byte that its settings decide,
so that runs that would make different results do not mix them in one folder. The kernel gives
all of it back however a process ends. Where a file system has no such locks, one run takes
the whole folder: :mod:`hat_deploy.folders.folder_lock`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hat_deploy.errors import UsageError
from hat_deploy.folders.folder_lock import NAME, FolderLock
from hat_deploy.terminal.printable import display_name

if sys.platform != "win32":
    import fcntl

_FIRST = 1 << 40
_SPAN = 1 << 56
_RUNS = 1 << 58
_PROBE, _DOOR = _FIRST - 1, _FIRST - 2
_BUSY = (errno.EACCES, errno.EAGAIN)

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
        lock: where the file system has no locks, the name of the file that stands for one.

    Raises:
        FolderBusy: a run with other settings is at work here.
        UsageError: there are no locks here, and another run has the folder.
    """

    def __init__(
        self, descriptor: int, folder: Path, settings: str = "", *, lock: str = NAME
    ) -> None:
        self._descriptor = descriptor
        self._place = folder.resolve()
        self._mine: set[int] = set()
        self._run = _number(settings, _RUNS)
        self._whole = None if _locks_work(descriptor) else FolderLock(folder, lock)
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
