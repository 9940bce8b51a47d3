"""The record of what was made in a folder, one JSON line a result: it decides what is redone.

A line is appended and synced before its result gets its name. So whatever moment a run dies at,
a result that is there and has the hash of its line is whole, and any other is made again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from hat_deploy.files import make_folder, open_plain, staged
from hat_deploy.folders import claims
from hat_deploy.folders.claims import Claims
from hat_deploy.folders.journal_index import Entry, Index
from hat_deploy.terminal.printable import display_name

NAME = ".hat-deploy-journal.jsonl"
"""The journal's name in the folder that results go to."""
SMALL = 1000
"""A journal of at most this many lines is never rewritten."""


class JournalReader:
    """The journal of a folder as it is, if there is one; changes nothing.

    Raises:
        UsageError: it is a link, a pipe or the like.
        OSError: there is one and it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = Index()
        self._descriptor: int | None = None
        try:
            self._descriptor = open_plain(folder / NAME, os.O_RDONLY, "journal")
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            self._index.refresh(self._descriptor)
        except BaseException:
            self.close()
            raise

    def last(self, output: str) -> Entry | None:
        """The last entry on a result."""
        if self._descriptor is None:
            return None
        return self._index.last(self._descriptor, output)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Those of the runs that wrote it, the latest first."""
        return list(self._index.settings)

    @property
    def note(self) -> str | None:
        """A remark on it for the user, if there is one."""
        return _note(self._folder, self._index)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            claims.close(self._descriptor, self._folder)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def relative(path: Path, folder: Path) -> str:
    """How the journal of a folder names a path."""
    return os.path.relpath(path, folder)


class Journal:
    """The journal of one folder, open for appending; made if need be. For any thread.

    It is rewritten if most of its lines are out of date and nobody else is at work in the folder.

    Args:
        folder: made if need be.
        settings: all that decides what the results of this run look like.

    Raises:
        OSError: the folder or the journal cannot be made or written.
        UsageError: see :class:`hat_deploy.folders.claims.Claims`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        make_folder(folder)
        self._lock = threading.Lock()
        self._index = Index()
        run = json.dumps(dict(settings or {}), sort_keys=True)
        while not self._opened(run):
            pass

    def name(self, path: Path) -> str:
        """How the journal names a path."""
        return relative(path, self.folder)

    def last(self, output: str) -> Entry | None:
        """The last entry on a result, those of other processes included."""
        with self._lock:
            self._index.refresh(self._descriptor)
            return self._index.last(self._descriptor, output)

    def append(self, entry: Entry) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            OSError: it is not, because the disk is full or for another reason.
        """
        line = entry.line
        with self._lock:
            if self._torn():
                line = b"\n" + line
            view = memoryview(line)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Give up all claims and the file."""
        self.claims.close()
        claims.close(self._descriptor, self.folder)

    @property
    def note(self) -> str | None:
        """A remark on the journal for the user, if there is one."""
        return _note(self.folder, self._index)

    def _opened(self, run: str) -> bool:
        """Open the journal and begin a run; False if another file took its name meanwhile."""
        path = self.folder / NAME
        descriptor = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, "journal")
        kept = None
        try:
            with claims.arriving(descriptor):
                if _is(path, descriptor):
                    kept = self._begin(descriptor, run)
        finally:
            if kept != descriptor:
                claims.close(descriptor, self.folder)
        return kept is not None

    def _begin(self, descriptor: int, run: str) -> int:
        """Join who is at work, read, and renew; returns the descriptor to go on with."""
        self.claims = Claims(descriptor, self.folder, run)
        try:
            self._index.refresh(descriptor)
            self._descriptor = descriptor
            if self.claims.alone and self._wasteful():
                with suppress(OSError):  # a full disk, perhaps: the old one does as well
                    self._descriptor = self._renewed(descriptor)
        except BaseException:
            self.claims.close()
            raise
        return self._descriptor

    def _wasteful(self) -> bool:
        lines = self._index.lines + self._index.ignored
        return lines > SMALL and lines > 2 * len(self._index)

    def _renewed(self, descriptor: int) -> int:
        """A journal of the lines that still count, under the old one's name."""
        status = os.fstat(descriptor)
        if status.st_uid != getattr(os, "geteuid", lambda: status.st_uid)():
            return descriptor  # its owner must still be able to write it
        with staged(self.folder / NAME) as path:
            with path.open("xb") as file:
                file.writelines(self._index.raw(descriptor))
            path.chmod(status.st_mode & 0o777)
            renewed = open_plain(path, os.O_RDWR | os.O_APPEND, "journal")
            try:
                os.fsync(renewed)
                index = Index()
                index.refresh(renewed)
                self.claims.move(renewed)
                path.replace(self.folder / NAME)
            except BaseException:
                self.claims.move(descriptor)
                os.close(renewed)
                raise
        self._index = index
        return renewed

    def _torn(self) -> bool:
        """Whether the last line was never finished: its writer died, or the disk was full."""
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _note(folder: Path, index: Index) -> str | None:
    if not index.ignored:
        return None
    lines = "1 line" if index.ignored == 1 else f"{index.ignored} lines"
    return f"{lines} of {display_name(folder / NAME)} cannot be read as entries: ignored"
