"""How far a folder of results is: what all journals in it say, added up."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hat_deploy.errors import UsageError
from hat_deploy.folders.journal import JournalReader, is_journal
from hat_deploy.folders.journal_index import Beat, Failure, Index
from hat_deploy.folders.journal_segments import RemoteJournal
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.record import EVERY
from hat_deploy.terminal.printable import display_name

SILENCE = 4 * EVERY
"""Seconds after which a run that says nothing is not counted as at work."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Of one folder of results."""

    done: int
    """Images with a line in a journal."""
    failures: list[Failure]
    """Images that failed when they were last tried."""
    missing: int | None
    """Images that are neither; None until each share has listed its images to the end."""
    shards: int
    """Shares of the latest run's division."""
    silent: list[str]
    """Shares of it that have not listed their images to the end."""
    at_work: int
    """Runs that were heard of lately."""
    rate: float
    """Images a second, of the runs at work."""

    @property
    def reasons(self) -> Counter[str]:
        """How many failed, by the reason."""
        return Counter(failure.reason for failure in self.failures)

    @property
    def seconds_left(self) -> float | None:
        """Until all is done at this rate; None where that cannot be told."""
        return self.missing / self.rate if self.missing and self.rate else None


def status_of(folder: Location, now: float | None = None) -> Status:
    """What the journals in a folder say; nothing is written.

    Args:
        now: seconds since 1970; by default the clock's.

    Raises:
        UsageError: there is no journal.
        StoreError, OSError: one cannot be read.
    """
    indices = _indices(folder)
    now = time.time() if now is None else now
    done: set[bytes] = set().union(*(index.outputs for index in indices))
    failures = [failure for index in indices for failure in index.failures.values()]
    failures = [found for found in failures if Index.key(found.failed) not in done]
    beats = sorted(
        (beat for index in indices for beat in index.beats.values()), key=lambda beat: beat.time
    )
    images, silent, shards = _listed(beats)
    busy = [beat for beat in beats if not beat.ended and now - beat.time < SILENCE]
    known = None if silent else max(0, images - len(done) - len(failures))
    return Status(
        done=len(done),
        failures=failures,
        missing=known,
        shards=shards,
        silent=silent,
        at_work=len(busy),
        rate=sum(beat.done / (beat.time - beat.began) for beat in busy if beat.time > beat.began),
    )


def _indices(folder: Location) -> list[Index]:
    none = UsageError(f"there is no journal in {display_name(folder)}: nothing was upscaled there")
    if isinstance(folder, Remote):
        with closing(RemoteJournal(folder)) as journal:
            if not journal.index.lines and not journal.index.beats:
                raise none
            return [journal.index]
    if not folder.is_dir() or not any(map(is_journal, os.listdir(folder))):  # noqa: PTH208
        raise none
    with closing(JournalReader(Path(folder))) as reader:
        return reader.indices


def _listed(beats: list[Beat]) -> tuple[int, list[str], int]:
    """Images of the latest division, its shares that have not told theirs, and its shares."""
    if not beats:
        return 0, ["0/1"], 1
    count = int(beats[-1].shard.rpartition("/")[2] or 1)
    told = {beat.shard: beat.images for beat in beats if beat.images is not None}
    shares = [f"{number}/{count}" for number in range(count)]
    silent = [share for share in shares if share not in told]
    return sum(told.get(share) or 0 for share in shares), silent, count
