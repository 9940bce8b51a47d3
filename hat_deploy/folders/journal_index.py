"""An index of a journal's lines: fast, small, and of well-formed lines only.

A folder of 100,000 images that was run ten times has a million lines. So only where the last
line of each result lies is kept, and a line becomes an :class:`Entry` when it is asked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, KeysView
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

LONGEST_LINE = 2**17
"""Bytes; two paths of the greatest length, all escapes, stay below."""
_BLOCK = 2**20
_LENGTH = 18
"""Bits of a line's length beside its offset in one number."""
_KINDS_OF_SETTINGS = 256
_BEATS = 256
"""Runs of which something is kept."""

_TEXT = rb'"(?:[ !#-\[\]-~]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_COUNT = rb"(?:0|[1-9][0-9]{0,18})"
_HASH = rb'"[0-9a-f]{64}"'
_LINE = re.compile(
    rb'\{"output":(?P<output>' + _TEXT + rb'),"output_size":' + _COUNT
    + rb',"output_sha256":' + _HASH + rb',"source":' + _TEXT + rb',"source_size":' + _COUNT
    + rb',"source_mtime_ns":-?' + _COUNT + rb',"source_sha256":' + _HASH
    + rb',"settings":(?P<settings>\{[ -~]*\})\}'
)  # fmt: skip
"""A line as :meth:`Entry.line` writes it."""


@dataclass(frozen=True, kw_only=True)
class _Line:
    """What is one line of a journal."""

    @property
    def line(self) -> bytes:
        """As it is written, its end included."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True, kw_only=True)
class Entry(_Line):
    """One result. Paths are relative to the journal's folder."""

    output: str
    output_size: int
    output_sha256: str
    source: str
    source_size: int
    source_mtime_ns: int
    source_sha256: str
    settings: dict[str, Any]
    """All else that decides what the result looks like; see :func:`hat_deploy.folders.run`."""


Earlier = Callable[[str], Entry | None]
"""What runs before this one wrote last on a result, by its name, where somebody else looked it
up."""


@dataclass(frozen=True, kw_only=True)
class Failure(_Line):
    """An image that could not be processed."""

    failed: str
    """Where its result would have gone, relative to the journal's folder."""
    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Beat(_Line):
    """How far a run was at a time."""

    run: str
    """A name of its own."""
    shard: str
    """Its share, as ``0/1``."""
    began: float
    """Seconds since 1970."""
    time: float
    done: int
    """Images that it made."""
    settled: int
    """Images that it is done with, in one way or another."""
    images: int | None
    """How many there are in its share; None until all names are known."""
    ended: bool = False


class Index:
    """Where the last line on each result lies in a journal."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self.failures: dict[str, Failure] = {}
        """Images that failed and were not made since, by the names of their results."""
        self.beats: dict[str, Beat] = {}
        """The last of each run, by its name."""
        self._settings: dict[bytes, None] = {}
        self._to = 0
        self._skipping = False
        self.lines = 0
        """Well-formed ones."""
        self.ignored = 0
        """Lines that are none of a journal's, but for empty ones."""

    def __len__(self) -> int:
        return len(self._places)

    @property
    def outputs(self) -> KeysView[bytes]:
        """The results that have a line, each as :meth:`key` writes it."""
        return self._places.keys()

    @staticmethod
    def key(output: str) -> bytes:
        """What a result is known by here."""
        return json.dumps(output).encode()

    @property
    def settings(self) -> Iterator[dict[str, Any]]:
        """Those of all runs, the latest first; no more than some hundreds."""
        for raw in reversed(self._settings):
            if (found := _settings(raw)) is not None:
                yield found

    def refresh(self, descriptor: int) -> None:
        """Read what has been added; a torn last line waits for its end.

        Raises:
            OSError: it cannot be read.
        """
        size = os.fstat(descriptor).st_size
        if size < self._to:
            self._places.clear()
            self.failures.clear()
            self.beats.clear()
            self._to, self._skipping = 0, False
        rest, at = b"", self._to
        while at < size and (block := os.pread(descriptor, _BLOCK, at)):
            start = at - len(rest)
            at += len(block)
            data = rest + block
            begin, end = 0, data.rfind(b"\n") + 1
            if end and self._skipping:
                begin, self._skipping = data.find(b"\n") + 1, False
            self._add(data[begin:end], start + begin)
            rest = data[end:]
            if self._skipping or len(rest) > LONGEST_LINE:  # no entry, whatever comes
                self.ignored += not self._skipping
                self._skipping, rest = True, b""
            self._to = at - len(rest)

    def last(self, descriptor: int, output: str) -> Entry | None:
        """The last entry on a result.

        Raises:
            OSError: it cannot be read.
        """
        place = self._places.get(self.key(output))
        if place is None:
            return None
        return _entry(os.pread(descriptor, place & (1 << _LENGTH) - 1, place >> _LENGTH))

    def raw(self, descriptor: int) -> Iterator[bytes]:
        """The last line on each result, in their order, each with its end."""
        for place in sorted(self._places.values()):
            yield os.pread(descriptor, place & (1 << _LENGTH) - 1, place >> _LENGTH) + b"\n"
        yield from (failure.line for failure in self.failures.values())
        yield from (beat.line for beat in list(self.beats.values())[-_BEATS:])

    def _heard(self, line: bytes) -> bool:
        """Take a line that is about no result; False if it is none."""
        event = _event(line)
        if isinstance(event, Failure):
            self.failures[event.failed] = event
        elif event is not None:
            self.beats[event.run] = event
        return event is not None

    def _add(self, data: bytes, start: int) -> None:
        """Take whole lines that begin at an offset."""
        for line in data.split(b"\n")[:-1]:
            if (found := _parts(line)) is not None:
                output, settings = found
                self.lines += 1
                if self.failures:
                    self.failures.pop(json.loads(output), None)
                self._places[output] = start << _LENGTH | len(line)
                self._settings.pop(settings, None)
                self._settings[settings] = None
                if len(self._settings) > _KINDS_OF_SETTINGS:
                    del self._settings[next(iter(self._settings))]
            elif line and not self._heard(line):
                self.ignored += 1
            start += len(line) + 1


def _parts(line: bytes) -> tuple[bytes, bytes] | None:
    """Name of the result and settings, both as JSON; None if the line is no entry."""
    if len(line) > LONGEST_LINE:
        return None
    found = _LINE.fullmatch(line)
    # With an escape in it there is more than one way to write a name.
    if found and b"\\" not in found["output"] and _settings(found["settings"]) is not None:
        return found["output"], found["settings"]
    entry = _entry(line)
    if entry is None:
        return None
    try:
        return json.dumps(entry.output).encode(), json.dumps(entry.settings).encode()
    except RecursionError:
        return None


@lru_cache(maxsize=_KINDS_OF_SETTINGS)
def _settings(raw: bytes) -> dict[str, Any] | None:
    found = _loaded(raw)
    return found if isinstance(found, dict) else None


def _entry(line: bytes) -> Entry | None:
    """A line's entry, if it has all the fields of one and each is what it should be."""
    values = _loaded(line)
    if not isinstance(values, dict) or not all(field.name in values for field in fields(Entry)):
        return None
    entry = Entry(**{field.name: values[field.name] for field in fields(Entry)})
    texts = (entry.output, entry.source, entry.output_sha256, entry.source_sha256)
    sizes = (entry.output_size, entry.source_size, entry.source_mtime_ns)
    sound = (
        all(type(text) is str for text in texts)
        and all(type(size) is int for size in sizes)
        and type(entry.settings) is dict
    )
    return entry if sound else None


def _event(line: bytes) -> Failure | Beat | None:
    if not line.startswith((b'{"failed":', b'{"run":')) or len(line) > LONGEST_LINE:
        return None
    values = _loaded(line)
    for kind in (Failure, Beat):
        if isinstance(values, dict) and {field.name for field in fields(kind)} == values.keys():
            event = kind(**values)
            return event if _sound(event) else None
    return None


def _sound(event: Failure | Beat) -> bool:
    if isinstance(event, Failure):
        return all(type(text) is str for text in (event.failed, event.source, event.reason))
    counts = (event.done, event.settled, 0 if event.images is None else event.images)
    return (
        all(type(text) is str for text in (event.run, event.shard))
        and all(type(count) is int and count >= 0 for count in counts)
        and all(type(time) in (int, float) for time in (event.began, event.time))
        and type(event.ended) is bool
    )


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
