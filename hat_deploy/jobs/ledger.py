"""The journals of a run, one a folder of results, opened when first needed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hat_deploy.errors import HatDeployError
from hat_deploy.jobs.journal import Entry, Journal, Keep, reason_to_keep
from hat_deploy.jobs.writing import sweep
from hat_deploy.sources import Job


class FolderUnusable(Exception):
    """A folder of results that cannot be written, or is another run's; a clause says why."""


class Ledger:
    """All journals of a run. For any thread.

    Args:
        jobs: of the run; what killed runs left in a folder of theirs is removed when its journal
            is opened.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._lock = threading.Lock()
        self._journals: dict[Path, Journal | FolderUnusable] = {}
        self._folders: dict[Path, set[Path]] = {}
        for job in jobs:
            self._folders.setdefault(job.root, set()).add(job.target.parent)

    def claim(self, job: Job, settings: dict[str, Any], *, overwrite: bool) -> Keep | None:
        """Claim a job's result unless it is to stay as it is.

        Raises:
            FolderUnusable: nothing can be written where it belongs.
            OSError: source or result cannot be read.
        """
        journal = self._journal(job.root)
        name = journal.name(job.target)
        if not journal.claims.take(name):
            return Keep("another run is working on it")
        keep = None
        try:
            keep = reason_to_keep(job, journal.last(name), settings, overwrite=overwrite)
        except BaseException:
            journal.claims.drop(name)
            raise
        if keep is not None:
            journal.claims.drop(name)
        return keep

    def record(
        self,
        job: Job,
        *,
        output: tuple[int, str],
        source: tuple[int, int, str],
        settings: dict[str, Any],
    ) -> None:
        """Add a result's line.

        Args:
            output: size and SHA-256.
            source: size, time of change in ns, SHA-256.

        Raises:
            OSError: it cannot be written.
        """
        journal = self._journal(job.root)
        journal.append(
            Entry(
                output=journal.name(job.target),
                output_size=output[0],
                output_sha256=output[1],
                source=journal.name(job.source),
                source_size=source[0],
                source_mtime_ns=source[1],
                source_sha256=source[2],
                settings=settings,
            )
        )

    def release(self, job: Job) -> None:
        """Give up the claim on a job's result."""
        journal = self._journal(job.root)
        journal.claims.drop(journal.name(job.target))

    def close(self) -> None:
        """Close all journals."""
        with self._lock:
            for journal in self._journals.values():
                if isinstance(journal, Journal):
                    journal.close()
            self._journals.clear()

    def _journal(self, folder: Path) -> Journal:
        with self._lock:
            if folder not in self._journals:
                self._journals[folder] = _open(folder, self._folders.get(folder, set()))
            found = self._journals[folder]
        if isinstance(found, FolderUnusable):
            raise found
        return found


def _open(folder: Path, below: set[Path]) -> Journal | FolderUnusable:
    try:
        journal = Journal(folder)
    except OSError as error:
        return FolderUnusable(f"{folder} cannot be written: {error.strerror or error}")
    except HatDeployError as error:
        return FolderUnusable(str(error))
    sweep(below)
    return journal
