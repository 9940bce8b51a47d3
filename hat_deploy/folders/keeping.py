"""Whether a result that is there stays as it is: what the journal says, and what is on the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hat_deploy.files import kind_of, sha256
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.journal import relative
from hat_deploy.folders.journal_index import Entry
from hat_deploy.folders.places import anywhere
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.terminal.printable import display_name


@dataclass(frozen=True)
class Keep:
    """A result that stays, and why; without a reason it is what this run would make."""

    reason: str | None


def reason_to_keep(
    job: Job,
    entry: Entry | None,
    settings: dict[str, Any],
    *,
    overwrite: bool,
    damaged: Callable[[Location], bool],
) -> Keep | None:
    """Whether a job's result stays as it is; None if it is to be made.

    Args:
        entry: the journal's last on this result.
        settings: of this run.
        overwrite: whether what exists is redone.
        damaged: whether a file that is not as the journal says cannot be decoded.

    Raises:
        OSError: source or result cannot be read.
    """
    if overwrite or not anywhere.exists(job.target):
        return None
    if entry is None:
        return Keep("it exists, and the journal does not know it: --overwrite redoes it")
    same = _Same(job, entry)
    if not same.name and not same.content:
        return Keep(f"it was made from {display_name(entry.source)}: --overwrite replaces it")
    if isinstance(job.target, Path) and not job.target.is_file():
        return Keep(f"it is {kind_of(job.target.lstat().st_mode)} now: --overwrite replaces it")
    if not _whole(job.target, entry):
        if damaged(job.target):
            return None
        return Keep("it was changed after it was made: --overwrite redoes it")
    if entry.settings != settings:
        return None
    return Keep(None) if same.unchanged or same.content else None


class _Same:
    """How the source of an entry compares with a job's, hashed only when need be."""

    def __init__(self, job: Job, entry: Entry) -> None:
        self._job = job
        self._entry = entry
        self._status = anywhere.standing(job.source)
        self._content: bool | None = None
        self.name = relative(job.source, job.root) == entry.source

    @property
    def unchanged(self) -> bool:
        """Same name, size and time, where the time is known."""
        found = (self._status.size, self._status.mtime_ns)
        known = (self._entry.source_size, self._entry.source_mtime_ns)
        return self.name and found == known and self._status.mtime_ns != 0

    @property
    def content(self) -> bool:
        """Same bytes."""
        if self._content is None:
            self._content = (
                self._status.size == self._entry.source_size
                and anywhere.sha256(self._job.source) == self._entry.source_sha256
            )
        return self._content


def _whole(target: Location, entry: Entry) -> bool:
    """Whether a result is what was made. An object is there whole or not at all: its size tells."""
    if isinstance(target, Remote):
        return anywhere.standing(target).size == entry.output_size
    return (
        target.is_file()
        and target.stat().st_size == entry.output_size
        and sha256(target) == entry.output_sha256
    )
