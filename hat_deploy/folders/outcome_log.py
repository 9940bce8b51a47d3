"""What became of each image, one JSON line each, written while a run goes on."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Self

from hat_deploy.folders.outcomes import Done, Failed, Outcome, Skipped


def line(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON types.

    ``outcome`` is ``done``, ``skipped``, ``failed`` or, where the run ended before the
    image's turn, ``not tried``; ``source`` and ``target`` are paths, ``target`` null for what
    could not become a job.
    """
    target = None if outcome.target is None else str(outcome.target)
    values = {"source": str(outcome.source), "target": target}
    match outcome:
        case Done():
            details: dict[str, Any] = {"seconds": round(outcome.seconds, 3), "tiles": outcome.tiles}
            if outcome.damaged:
                details["damaged"] = list(outcome.damaged)
            return {**values, "outcome": "done", **details, "notes": list(outcome.notes)}
        case Skipped():
            return {**values, "outcome": "skipped", "reason": outcome.reason or "done before"}
        case Failed():
            kind = "failed" if outcome.tried else "not tried"
            return {**values, "outcome": kind, "reason": outcome.reason}


class Report:
    """A file of such lines; each is there as soon as its outcome is known.

    A disk that is full ends the report and not the run: ``problem`` says so afterwards.

    Args:
        path: replaced if it is there, by the first line or at the end; None writes nothing. An
            earlier report stays if the run is refused.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path | None) -> None:
        self._stream = None if path is None else path.open("a", encoding="utf-8", buffering=1)
        self._fresh = False
        self.problem: str | None = None

    def add(self, outcome: Outcome) -> None:
        """Write a line."""
        if self._stream is None or self.problem is not None:
            return
        try:
            self._begin()
            self._stream.write(json.dumps(line(outcome)) + "\n")
        except OSError as error:
            self.problem = error.strerror or str(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if self._stream is not None:
            try:
                if error is None:
                    self._begin()
                self._stream.close()
            except OSError as late:
                self.problem = self.problem or late.strerror or str(late)

    def _begin(self) -> None:
        """Empty the file, once; a pipe or a device has nothing to be emptied of."""
        if self._stream is not None and not self._fresh:
            self._fresh = True
            if stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode):
                self._stream.truncate(0)
