"""What was made in a folder: one JSON line a result, and what it says about doing it again.

A line is appended and synced before its result gets its name. So whatever moment a run dies at,
a result that is there and has the hash of its line is whole, and any other is made again.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hat_deploy.artifact import sha256
from hat_deploy.jobs.claims import Claims
from hat_deploy.sources import Job

NAME = ".hat-deploy-journal.jsonl"
"""The journal's name in the folder that results go to."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One result. Paths are relative to the journal's folder."""

    output: str
    output_size: int
    output_sha256: str
    source: str
    source_size: int
    source_mtime_ns: int
    source_sha256: str
    settings: dict[str, Any]
    """All else that decides what the result looks like; see :func:`hat_deploy.jobs.run`."""


def read(folder: Path) -> dict[str, Entry]:
    """The last entry of each result in a folder's journal; changes nothing.

    Raises:
        OSError: there is a journal and it cannot be read.
    """
    try:
        return _entries((folder / NAME).read_bytes())
    except FileNotFoundError:
        return {}


def relative(path: Path, folder: Path) -> str:
    """How the journal of a folder names a path."""
    return os.path.relpath(path, folder)


def reason_to_keep(
    job: Job, entry: Entry | None, settings: dict[str, Any], *, overwrite: bool
) -> Keep | None:
    """Whether a job's result stays as it is; None if it is to be made.

    Args:
        entry: the journal's last on this result.
        settings: of this run.
        overwrite: whether what exists is redone.

    Raises:
        OSError: source or result cannot be read.
    """
    if overwrite or not os.path.lexists(job.target):
        return None
    if entry is None:
        return Keep("it exists, and the journal does not know it: --overwrite redoes it")
    same = _Same(job, entry)
    if not same.name and not same.content:
        return Keep(f"it was made from {entry.source}: --overwrite replaces it")
    if entry.settings != settings or not _whole(job.target, entry):
        return None
    return Keep(None) if same.unchanged or same.content else None


@dataclass(frozen=True)
class Keep:
    """That a result stays, and why; no reason means it is just what would be made."""

    reason: str | None


class Journal:
    """The journal of one folder, open for appending; made if need be. For any thread.

    Raises:
        OSError: the folder or the journal cannot be made or written.
        UsageError: see :class:`hat_deploy.jobs.claims.Claims`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = os.open(folder / NAME, flags, 0o666)
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._read_to = 0
        try:
            self.claims = Claims(self._descriptor, folder)
        except BaseException:
            os.close(self._descriptor)
            raise

    def name(self, path: Path) -> str:
        """How the journal names a path."""
        return relative(path, self.folder)

    def last(self, output: str) -> Entry | None:
        """The last entry on a result, those of other processes included."""
        with self._lock:
            self._refresh()
            return self._entries.get(output)

    def append(self, entry: Entry) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            OSError: it is not, for want of space or another reason.
        """
        line = json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"
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
        os.close(self._descriptor)

    def _torn(self) -> bool:
        """Whether the last line was never finished: its writer died, or the disk was full."""
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def _refresh(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size == self._read_to:
            return
        if size < self._read_to:
            self._entries, self._read_to = {}, 0
        parts = []
        while part := os.pread(self._descriptor, 1 << 20, self._read_to):
            parts.append(part)
            self._read_to += len(part)
        data = b"".join(parts)
        whole = data.rfind(b"\n") + 1
        self._read_to -= len(data) - whole
        self._entries |= _entries(data[:whole])


class _Same:
    """How the source of an entry compares with a job's, hashed only when need be."""

    def __init__(self, job: Job, entry: Entry) -> None:
        self._job = job
        self._entry = entry
        self._status = job.source.stat()
        self._content: bool | None = None
        self.name = relative(job.source, job.root) == entry.source

    @property
    def unchanged(self) -> bool:
        """Same name, size and time."""
        found = (self._status.st_size, self._status.st_mtime_ns)
        return self.name and found == (self._entry.source_size, self._entry.source_mtime_ns)

    @property
    def content(self) -> bool:
        """Same bytes."""
        if self._content is None:
            self._content = (
                self._status.st_size == self._entry.source_size
                and sha256(self._job.source) == self._entry.source_sha256
            )
        return self._content


def _whole(target: Path, entry: Entry) -> bool:
    return (
        target.is_file()
        and target.stat().st_size == entry.output_size
        and sha256(target) == entry.output_sha256
    )


def _entries(data: bytes) -> dict[str, Entry]:
    """The entries in a journal's content; lines that are none (torn ones) are passed over."""
    names = {field.name for field in fields(Entry)}
    entries = {}
    for line in data.split(b"\n"):
        try:
            values = json.loads(line)
            entry = Entry(**{name: values[name] for name in names})
        except (ValueError, TypeError, KeyError):
            continue
        entries[entry.output] = entry
    return entries
