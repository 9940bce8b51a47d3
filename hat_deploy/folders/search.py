"""What a run is to look for, as values that travel: the names that a user gave, and no image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hat_deploy.folders import job_stream, manifest
from hat_deploy.folders.job_stream import JobStream
from hat_deploy.folders.places.remote import Location


@dataclass(frozen=True, kw_only=True)
class Search:
    """Images to be found one by one; fields as for :func:`stream_jobs` and
    :func:`stream_manifest`."""

    paths: tuple[Location, ...] = ()
    manifest: Location | None = None
    """In place of paths."""
    output: Location | None = None
    mark: str
    recursive: bool = False
    format: str | None = None

    def stream(self) -> JobStream:
        """The jobs, found while they are asked for.

        Raises:
            UsageError, StoreError, MissingExtraError: as the two functions.
        """
        if self.manifest is not None:
            return manifest.stream_manifest(self.manifest, self.output, format=self.format)
        return job_stream.stream_jobs(
            self.paths,
            mark=self.mark,
            output=self.output,
            recursive=self.recursive,
            format=self.format,
        )

    @property
    def from_anywhere(self) -> Search:
        """The same for processes that work in other folders: paths in full."""
        return replace(
            self,
            paths=tuple(map(_in_full, self.paths)),
            manifest=None if self.manifest is None else _in_full(self.manifest),
            output=None if self.output is None else _in_full(self.output),
        )


def _in_full(place: Location) -> Location:
    return place.absolute() if isinstance(place, Path) else place
