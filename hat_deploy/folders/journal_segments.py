"""The journal of results in a bucket: objects cannot be appended to, so it is many small ones.

Each is written once, before the objects of the results that its lines are about, and never
changed. Lines of images that are ready at the same time share one. As soon as there are
:data:`FAN` of one size, a larger one takes their place, so there are few to read. Each run, and
each share of a divided run, has a folder of its own; none waits for another.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Self

from hat_deploy.errors import HatDeployError
from hat_deploy.folders.journal import relative
from hat_deploy.folders.journal_index import Beat, Earlier, Entry, Failure, Index
from hat_deploy.folders.places import listing
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.places.stores import Missing, store_of
from hat_deploy.folders.shards import WHOLE, Shard
from hat_deploy.terminal.printable import display_name
from hat_deploy.terminal.wording import counted

FOLDER = ".hat-deploy-journal"
"""Where results go, the folder of the journals."""
FAN = 64
"""Segments of one size that are put together."""
READERS = 16
_NAME = re.compile(r"(?P<run>\d{13}-[0-9a-f]{8})-(?P<first>\d{9})-(?P<last>\d{9})\.jsonl")
_LARGEST = 2**28
"""Bytes of a segment that is read."""


@dataclass(frozen=True)
class Segment:
    """One object of a journal: lines ``first`` to ``last`` of a run's numbered writes."""

    run: str
    first: int
    last: int
    place: Remote


@dataclass(frozen=True)
class Written:
    """A segment of this run, and where its lines lie in the file that holds all that is known."""

    segment: Segment
    start: int
    end: int


class RemoteJournal:
    """The journal of one folder of a bucket and one share of a run. For any thread.

    Args:
        folder: of the results.
        shard: of this run. What runs of another division did counts too.
        earlier: what to ask in place of their journals, which then are not read.

    Raises:
        StoreError: it cannot be read or written.
    """

    def __init__(
        self, folder: Remote, shard: Shard = WHOLE, *, earlier: Earlier | None = None
    ) -> None:
        self.folder = folder
        self.claims = OwnClaims()
        self._own = folder / FOLDER / shard.label
        self._store = store_of(folder)
        self._run = f"{time.time_ns() // 10**6:013}-{token_hex(4)}"
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self.index = Index()
        """What it says."""
        self._guard = threading.Lock()
        self._commit = threading.Lock()
        self._pending: list[bytes] = []
        self._taken = self._durable = self._number = 0
        self._levels: list[list[Written]] = []
        self._earlier = earlier
        self._read(shard)

    def name(self, path: Location) -> str:
        """How the journal names a place."""
        return relative(path, self.folder)

    def last(self, output: str) -> Entry | None:
        """The last entry on a result that runs before this one, or this one, wrote."""
        with self._guard:
            found = self.index.last(self._spool.fileno(), output)
        return self._earlier(output) if found is None and self._earlier is not None else found

    @property
    def beats(self) -> list[Beat]:
        """The last of each run that is known."""
        with self._guard:
            return [*self.index.beats.values()]

    def append(self, entry: Entry) -> None:
        """Add a result's line; it is in the bucket when this returns.

        Raises:
            StoreError: it is not.
        """
        with self._guard:
            self._pending.append(entry.line)
            self._taken += 1
            ticket = self._taken
        with self._commit:  # whoever comes in first writes the lines of all who wait
            if self._durable < ticket:
                self._flush()

    def tell(self, event: Failure | Beat) -> None:
        """Add a line that is for people, to be written with the next one or at the end."""
        with self._guard:
            self._pending.append(event.line)
            self._taken += 1

    def close(self) -> None:
        """Write what waits."""
        with suppress(HatDeployError), self._commit:
            self._flush()
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def note(self) -> str | None:
        """A remark on the journal for the user, if there is one."""
        count = self.index.ignored
        lines = counted(count, "line")
        where = display_name(f"{self.folder}/{FOLDER}")
        return f"{lines} of {where} cannot be read as entries: ignored" if count else None

    def _flush(self) -> None:
        """Write the lines that wait as one segment; the caller holds ``_commit``."""
        with self._guard:
            lines, self._pending = self._pending, []
        if not lines:
            return
        data = b"".join(lines)
        try:
            segment = self._put(self._number, self._number, data)
        except BaseException:
            with self._guard:
                self._pending = lines + self._pending
            raise
        self._number += 1
        self._durable += len(lines)
        start = self._remember(data)
        self._keep(Written(segment, start, start + len(data)), 0)

    def _put(self, first: int, last: int, data: bytes) -> Segment:
        name = f"{self._run}-{first:09}-{last:09}.jsonl"
        segment = Segment(self._run, first, last, self._own / name)
        self._store.write(data, segment.place)
        return segment

    def _keep(self, written: Written, level: int) -> None:
        """Count a segment of this run, and put those of its size together if there are many."""
        if level == len(self._levels):
            self._levels.append([])
        parts = self._levels[level]
        parts.append(written)
        if len(parts) < FAN:
            return
        first, last = parts[0], parts[-1]
        data = os.pread(self._spool.fileno(), last.end - first.start, first.start)
        with suppress(HatDeployError):  # then there are more of them, and nothing else
            whole = self._put(first.segment.first, last.segment.last, data)
            self._levels[level] = []
            self._keep(Written(whole, first.start, last.end), level + 1)
            self._store.remove(part.segment.place for part in parts)

    def _remember(self, data: bytes) -> int:
        """Put lines behind all that is known; says where they begin."""
        with self._guard:
            start = self._spool.seek(0, os.SEEK_END)
            self._spool.write(data)
            self._spool.flush()
            self.index.refresh(self._spool.fileno())
            return start

    def _read(self, shard: Shard) -> None:
        """Take what earlier runs wrote: of this share all, of another division this share's."""
        if self._earlier is not None:
            for _, data in segments(self.folder, shard.label):
                self._remember(data)
            return
        own = f"{self._own}/"
        for segment, data in segments(self.folder):
            if segment.place.url.startswith(own) or shard.count == 1:
                self._remember(data)
            else:
                self._remember(b"".join(_share(data, shard)))


def segments(folder: Remote, label: str | None = None) -> Iterator[tuple[Segment, bytes]]:
    """All that journals say about a folder of results, the oldest run's first.

    Args:
        label: of one share, to have its journal alone.

    Raises:
        StoreError: it cannot be read.
    """
    below = folder / FOLDER if label is None else folder / FOLDER / label
    done: set[Segment] = set()
    while True:
        found = [segment for segment in _listed(below) if segment not in done]
        with ThreadPoolExecutor(READERS) as pool:
            for segment, data in zip(found, pool.map(_content, found), strict=True):
                if data is None:
                    break  # a larger one took its place meanwhile
                done.add(segment)
                yield segment, data
            else:
                return


def _listed(below: Remote) -> list[Segment]:
    """The segments there are below a place, without those that a larger one holds."""
    try:
        found = [
            Segment(match["run"], int(match["first"]), int(match["last"]), place)
            for place in listing.objects(below, recursive=True)
            if (match := _NAME.fullmatch(place.name)) and (place.size or 0) <= _LARGEST
        ]
    except Missing:
        return []
    found.sort(key=lambda one: (one.run, one.first, -one.last))
    kept: list[Segment] = []
    for one in found:
        if not kept or kept[-1].run != one.run or kept[-1].last < one.last:
            kept.append(one)
    return kept


def _content(segment: Segment) -> bytes | None:
    try:
        return store_of(segment.place).read(segment.place)
    except Missing:
        return None


def _share(data: bytes, shard: Shard) -> Iterable[bytes]:
    """The lines on results of a share."""
    for line in data.splitlines(keepends=True):
        with suppress(ValueError):
            values = json.loads(line)
            if isinstance(values, dict) and shard.has(str(values.get("output", ""))):
                yield line


class OwnClaims:
    """Which results the threads of this process work on. Shares keep processes apart."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: Counter[str] = Counter()

    def take(self, name: str) -> bool:
        """Claim a result; False if another thread has it."""
        with self._guard:
            if self._held[name]:
                return False
            self._held[name] = 1
        return True

    def drop(self, name: str) -> None:
        """Give a claim back."""
        with self._guard:
            self._held.pop(name, None)
