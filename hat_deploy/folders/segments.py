"""The encoded parts of a clip that is being made: journaled, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hat_deploy.folders.job_list import Job
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.keeping import Keep
from hat_deploy.folders.writing import Place, write_whole
from hat_deploy.video import parts
from hat_deploy.video.parts import Packet

SourceFacts = tuple[int, int, str]
"""Size, time of change and SHA-256 of a file."""


def folder_of(target: Path) -> Path:
    """Where the parts of a result lie until it is whole: a hidden folder beside it."""
    name = hashlib.sha256(target.name.encode(errors="surrogateescape")).hexdigest()[:12]
    return target.parent / f".hat-deploy-{name}.parts"


class Segments:
    """The parts of one clip; those of other settings or another source are made again.

    Args:
        job: of the clip; its claim is held.
        settings: all that decides what the parts look like, as JSON types.
        source: of the clip's file.
    """

    def __init__(self, job: Job, settings: Mapping[str, Any], source: SourceFacts) -> None:
        self._clip = job.source
        self._settings = dict(settings)
        self._source = source
        self.folder = folder_of(job.here[1])
        self._journals = Journals([self._job(0)], settings)

    def has(self, number: int) -> bool:
        """Whether a part is there, whole and of these settings."""
        job = self._job(number)
        place = self._journals.claim(
            job, self._settings, overwrite=False, damaged=lambda path: True
        )
        if isinstance(place, Place):
            self._journals.release(job)
        return isinstance(place, Keep) and place.reason is None

    def save(self, number: int, packets: list[Packet]) -> int:
        """Keep a part; returns its bytes.

        Raises:
            OSError: it cannot be written.
        """
        job = self._job(number)

        def fill(path: Path) -> tuple[str, ...]:
            parts.write(path, packets)
            return ()

        def record(size: int, sha256: str) -> None:
            self._journals.record(
                job, output=(size, sha256), source=self._source, settings=self._settings
            )

        write_whole(fill, Place(job.target), record=record)
        return job.here[1].stat().st_size

    def files(self, count: int) -> list[Path]:
        """The files of so many parts, in order."""
        return [self._job(number).here[1] for number in range(count)]

    def close(self) -> None:
        """Close the journal; the parts stay."""
        self._journals.close()

    def remove(self) -> None:
        """Remove the parts."""
        self.close()
        with suppress(OSError):
            shutil.rmtree(self.folder)

    def _job(self, number: int) -> Job:
        return Job(self._clip, self.folder / f"{number:06}.part", self.folder)
