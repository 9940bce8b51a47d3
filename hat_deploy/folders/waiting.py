"""The jobs of a run, taken one by one by any thread while they may still be listed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from hat_deploy.folders.job_list import Job, Rejected
from hat_deploy.folders.places.remote import Location


class Waiting:
    """Jobs whose turn has not come, and those that were begun and have no outcome.

    Args:
        jobs: a list, of which all that is left can be told, or a stream, which may be endless.
    """

    def __init__(self, jobs: Iterable[Job | Rejected]) -> None:
        self._listed = isinstance(jobs, list)
        self._jobs = iter(jobs)
        self._guard = threading.Lock()
        self._begun: dict[tuple[Location, Location], Job] = {}
        self._taken = 0
        self._total = len(jobs) if isinstance(jobs, list) else None

    @property
    def total(self) -> int | None:
        """How many there are in all; None while that is not known."""
        return self._total

    def take(self) -> Job | Rejected | None:
        """The next one; None if there are no more.

        Raises:
            HatDeployError: the rest cannot be listed.
        """
        with self._guard:
            found = next(self._jobs, None)
            if found is None:
                self._total = self._taken
                return None
            self._taken += 1
            if isinstance(found, Job):
                self._begun[found.source, found.target] = found
            return found

    def settle(self, source: Location, target: Location) -> None:
        """Forget one whose outcome is known."""
        with self._guard:
            self._begun.pop((source, target), None)

    def left(self) -> Iterator[Job]:
        """Those without an outcome: of a stream, those that were begun."""
        with self._guard:
            begun = list(self._begun.values())
        yield from begun
        if self._listed:
            yield from (job for job in self._jobs if isinstance(job, Job))
