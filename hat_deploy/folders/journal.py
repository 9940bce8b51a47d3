"""The record of what was made in a folder, one JSON line a result: it decides what is redone.

A line is appended and synced before its result gets its name. So whatever moment a run dies at,
a result that is there and has the hash of its line is whole, and any other is made again.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from hat_deploy.files import make_folder, open_plain, sha256, staged
from hat_deploy.folders import claims
from hat_deploy.folders.claims import Claims
from hat_deploy.folders.folder_lock import NAME as LOCK
from hat_deploy.folders.journal_index import Beat, Earlier, Entry, Failure, Index
from hat_deploy.folders.places.remote import Location, Remote, inside
from hat_deploy.folders.shards import WHOLE, Shard
from hat_deploy.terminal.printable import display_name
from hat_deploy.terminal.wording import counted

NAME = ".hat-deploy-journal.jsonl"
"""The journal's name in the folder that results go to."""
_OF_SHARE = re.compile(r"\.hat-deploy-journal-(\d+-of-\d+|ray-[0-9a-z]+)\.jsonl")
SMALL = 1000
"""A journal of at most this many lines is never rewritten."""


def is_journal(name: str) -> bool:
    """Whether a file is called like a journal."""
    return name == NAME or _OF_SHARE.fullmatch(name) is not None


def of_share(shard: Shard) -> str:
    """The name of the journal of one share, which may lie on a file system without locks."""
    return f".hat-deploy-journal-{shard.label}.jsonl"


class _Shares:
    """The journals that shares of divided runs wrote in a folder, for reading.

    There may be more of them than a process may have open files.

    Raises:
        UsageError: one is a link, a pipe or the like.
        OSError: one cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._files: list[tuple[Path, Index]] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in sorted(os.listdir(folder)):  # noqa: PTH208 - strings, and many
                if _OF_SHARE.fullmatch(name):
                    self._add(folder / name)

    def _add(self, path: Path) -> None:
        index = Index()
        with _reading(path) as descriptor:
            index.refresh(descriptor)
        self._files.append((path, index))

    @property
    def indices(self) -> list[Index]:
        """What each of them says."""
        return [index for _, index in self._files]

    def last(self, output: str) -> list[Entry]:
        """The last entry of each on a result."""
        key, found = Index.key(output), []
        for path, index in self._files:
            if key in index.outputs:
                with _reading(path) as descriptor:
                    found.append(index.last(descriptor, output))
        return [entry for entry in found if entry is not None]


@contextmanager
def _reading(path: Path) -> Iterator[int]:
    descriptor = open_plain(path, os.O_RDONLY, "journal")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _latest(folder: Path, entries: list[Entry]) -> Entry | None:
    """Of what several journals say on one result, what is true of the file that is there.

    Runs of different divisions may each have made it, and clocks of machines differ.
    """
    if len(entries) > 1:
        target = folder / entries[0].output
        with suppress(OSError):
            size = target.stat().st_size
            alike = [entry for entry in entries if entry.output_size == size]
            if len(alike) > 1:
                made = sha256(target)
                alike = [entry for entry in alike if entry.output_sha256 == made]
            entries = alike or entries
    return entries[0] if entries else None


class JournalReader:
    """The journals of a folder as they are, if there are any; changes nothing.

    Raises:
        UsageError: it is a link, a pipe or the like.
        OSError: there is one and it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = Index()
        self._descriptor: int | None = None
        self._shares = _Shares(folder)
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
        found = None
        if self._descriptor is not None:
            found = self._index.last(self._descriptor, output)
        shares = self._shares.last(output)
        return _latest(self._folder, shares if found is None else [found, *shares])

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Those of the runs that wrote it, the latest first."""
        return [settings for index in self.indices for settings in index.settings]

    @property
    def indices(self) -> list[Index]:
        """What each journal says."""
        return [self._index, *self._shares.indices]

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


def relative(path: Location, folder: Location) -> str:
    """How the journal of a folder names a place: by its way there, or in full from elsewhere."""
    if isinstance(path, Remote):
        return (isinstance(folder, Remote) and inside(path, folder)) or path.url
    if isinstance(folder, Remote):
        return str(path.absolute())
    return os.path.relpath(path, folder)


class Journal:
    """The journal of one folder, open for appending; made if need be. For any thread.

    It is rewritten if most of its lines are out of date and nobody else is at work in the folder.
    A share of a divided run writes a file of its own; its claims are those of all runs here.

    Args:
        folder: made if need be.
        settings: all that decides what the results of this run look like.
        shard: of this run.
        earlier: what to ask in place of all journals but this share's own, which then are not
            read.

    Raises:
        OSError: the folder or the journal cannot be made or written.
        UsageError: see :class:`hat_deploy.folders.claims.Claims`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
        shard: Shard = WHOLE,
        *,
        earlier: Earlier | None = None,
    ) -> None:
        self.folder = folder
        make_folder(folder)
        self._lock = threading.Lock()
        self._index = Index()
        self._shard = shard
        self._own: int | None = None
        self._earlier = earlier
        run = json.dumps(dict(settings or {}), sort_keys=True)
        while not self._opened(run):
            pass
        self._shares = _Shares(folder) if earlier is None else None
        if shard.apart:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            self._own = open_plain(folder / of_share(shard), flags, "journal")
            self._own_index = Index()

    def name(self, path: Location) -> str:
        """How the journal names a path."""
        return relative(path, self.folder)

    def last(self, output: str) -> Entry | None:
        """The last entry on a result, those of other processes included."""
        if self._shares is None:
            return self._own_last(output)
        with self._lock:
            self._index.refresh(self._descriptor)
            found = [self._index.last(self._descriptor, output)]
            if self._own is not None:
                self._own_index.refresh(self._own)
                found.insert(0, self._own_index.last(self._own, output))
            entries = [entry for entry in found if entry is not None]
        return _latest(self.folder, entries + self._shares.last(output))

    def _own_last(self, output: str) -> Entry | None:
        """What this share wrote, or else what it was told of others."""
        assert self._own is not None and self._earlier is not None
        with self._lock:
            self._own_index.refresh(self._own)
            found = self._own_index.last(self._own, output)
        return self._earlier(output) if found is None else found

    @property
    def beats(self) -> list[Beat]:
        """The last of each run that is known."""
        with self._lock:
            indices = [self._index, *([] if self._shares is None else self._shares.indices)]
            return [beat for index in indices for beat in index.beats.values()]

    def append(self, entry: Entry) -> None:
        """Add a result's line; it is on the disk when this returns.

        Raises:
            OSError: it is not, because the disk is full or for another reason.
        """
        self._append(entry.line)

    def tell(self, event: Failure | Beat) -> None:
        """Add a line that is for people; nothing is lost where it cannot be written."""
        with suppress(OSError):
            self._append(event.line)

    def _append(self, line: bytes) -> None:
        with self._lock:
            descriptor = self._descriptor if self._own is None else self._own
            if _torn(descriptor):
                line = b"\n" + line
            view = memoryview(line)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)

    def close(self) -> None:
        """Give up all claims and the file."""
        self.claims.close()
        claims.close(self._descriptor, self.folder)
        if self._own is not None:
            os.close(self._own)

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
        name = "" if self._shard == WHOLE else f"-{self._shard.label}"
        self.claims = Claims(descriptor, self.folder, run, lock=f"{LOCK}{name}")
        try:
            if self._earlier is None:
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


def _torn(descriptor: int) -> bool:
    """Whether the last line was never finished: its writer died, or the disk was full."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _note(folder: Path, index: Index) -> str | None:
    if not index.ignored:
        return None
    lines = counted(index.ignored, "line")
    return f"{lines} of {display_name(folder / NAME)} cannot be read as entries: ignored"
