"""The journals of a run, one a folder of results, opened when first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from hat_deploy.errors import HatDeployError
from hat_deploy.files import remove_abandoned
from hat_deploy.folders.claims import FolderBusy
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.journal import Journal, relative
from hat_deploy.folders.journal_index import Beat, Entry, Failure
from hat_deploy.folders.journal_segments import RemoteJournal
from hat_deploy.folders.keeping import Keep, reason_to_keep
from hat_deploy.folders.places import anywhere
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.shards import WHOLE, Shard
from hat_deploy.folders.writing import Place

EarlierOf = Callable[[Location, str], Entry | None]
"""What runs before this one wrote last on a result, by its folder of results and its name there."""


class FolderUnusable(Exception):
    """A folder of results that cannot be written, or is another run's; a clause says why."""


class Claimed(Exception):
    """Another run is working on a result."""


class Journals:
    """All journals of a run. For any thread.

    Args:
        jobs: of the run, as far as they are known before it; what killed runs left in a folder of
            theirs is removed when its journal is opened.
        settings: all that decides what the results of the run look like.
        roots: further folders of results.
        shard: the run's share.
        earlier: what to ask in place of the journals of other runs and shares, which then are not
            read.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        settings: Mapping[str, Any] | None = None,
        *,
        roots: Iterable[Location] = (),
        shard: Shard = WHOLE,
        earlier: EarlierOf | None = None,
    ) -> None:
        self._settings = settings
        self._earlier = earlier
        self._shard = shard
        self._lock = threading.Lock()
        self._journals: dict[Location, Journal | RemoteJournal | FolderUnusable] = {}
        self._folders: dict[Location, set[Path]] = {}
        for job in jobs:
            self._folders.setdefault(job.root, set()).add(anywhere.workshop(job.target))
        for root in roots:
            self._folders.setdefault(root, set()).add(anywhere.workshop(root / "result"))

    def open(self) -> list[str]:
        """Open every journal; returns remarks on them for the user.

        A folder of this machine that cannot be used is reported with each of its jobs.

        Raises:
            FolderBusy: a run with other settings is at work in one of the folders.
            StoreError: one in a store cannot be used.
        """
        notes = []
        for folder in self._folders:
            try:
                notes.append(self._journal(folder).note)
            except FolderUnusable:
                continue
        return [note for note in notes if note is not None]

    def claim(
        self,
        job: Job,
        settings: dict[str, Any],
        *,
        overwrite: bool,
        damaged: Callable[[Location], bool],
    ) -> Place | Keep:
        """Claim a job's result unless it is to stay as it is; returns where it goes.

        Args:
            settings: of the job.
            overwrite: whether a result that is there is redone.
            damaged: see :func:`hat_deploy.folders.keeping.reason_to_keep`.

        Raises:
            Claimed: another run is working on it.
            FolderUnusable: nothing can be written where it belongs.
            OSError, StoreError: source or result cannot be read.
        """
        journal = self._journal(job.root)
        name = journal.name(job.target)
        if not journal.claims.take(name):
            raise Claimed
        try:
            place = Place.now(job.target, forced=overwrite)
            if place.before is None:
                return place
            entry = journal.last(name)
            keep = reason_to_keep(job, entry, settings, overwrite=overwrite, damaged=damaged)
        except BaseException:
            journal.claims.drop(name)
            raise
        if keep is None:
            return place
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
        """Add a result's line, unless its last one is the same: a run that was killed wrote it.

        Args:
            output: size and SHA-256.
            source: size, time of change in ns, SHA-256.

        Raises:
            OSError, StoreError: it cannot be written.
        """
        journal = self._journal(job.root)
        entry = Entry(
            output=journal.name(job.target),
            output_size=output[0],
            output_sha256=output[1],
            source=journal.name(job.source),
            source_size=source[0],
            source_mtime_ns=source[1],
            source_sha256=source[2],
            settings=settings,
        )
        if journal.last(entry.output) != entry:
            journal.append(entry)

    def tell(self, root: Location, event: Failure | Beat) -> None:
        """Add a line for people to the journal of a folder of results, if it can be written."""
        with suppress(FolderUnusable):
            self._journal(root).tell(event)

    def images(self, root: Location) -> int | None:
        """How many images this run's share has, as an earlier run of it said; None if none did."""
        with suppress(FolderUnusable):
            beats = sorted(self._journal(root).beats, key=lambda beat: beat.time)
            told = [beat.images for beat in beats if beat.shard == str(self._shard)]
            return next((images for images in reversed(told) if images is not None), None)
        return None

    def fail(self, source: Location, target: Location, reason: str) -> None:
        """Write down that an image could not be processed."""
        for root in sorted(self.roots, key=lambda root: -len(str(root))):
            if anywhere.holds(root, target):
                failed, of = relative(target, root), relative(source, root)
                self.tell(root, Failure(failed=failed, source=of, reason=reason))
                return

    @property
    def roots(self) -> list[Location]:
        """The folders of results."""
        return list(self._folders)

    def release(self, job: Job) -> None:
        """Give up the claim on a job's result."""
        journal = self._journal(job.root)
        journal.claims.drop(journal.name(job.target))

    def close(self) -> None:
        """Close all journals."""
        with self._lock:
            for journal in self._journals.values():
                if not isinstance(journal, FolderUnusable):
                    journal.close()
            self._journals.clear()

    def _journal(self, folder: Location) -> Journal | RemoteJournal:
        with self._lock:
            if folder not in self._journals:
                below = self._folders.get(folder, set())
                self._journals[folder] = self._open(folder, below)
            found = self._journals[folder]
        if isinstance(found, FolderUnusable):
            raise found
        return found

    def _open(self, folder: Location, below: set[Path]) -> Journal | RemoteJournal | FolderUnusable:
        earlier = None if self._earlier is None else partial(self._earlier, folder)
        if isinstance(folder, Remote):
            found = RemoteJournal(folder, self._shard, earlier=earlier)
            remove_abandoned(below)
            return found
        try:
            journal = Journal(folder, self._settings, self._shard, earlier=earlier)
        except FolderBusy:
            raise
        except OSError as error:
            return FolderUnusable(f"{folder} cannot be written: {error.strerror or error}")
        except HatDeployError as error:
            return FolderUnusable(str(error))
        remove_abandoned({folder, *below})
        return journal
