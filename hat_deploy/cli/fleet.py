"""The part of ``hat-deploy upscale`` that is about stores, manifests and shares of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from hat_deploy.cli.options import refuse
from hat_deploy.errors import UsageError

if TYPE_CHECKING:
    from hat_deploy.folders.job_list import JobList
    from hat_deploy.folders.job_stream import JobStream
    from hat_deploy.folders.places.remote import Location
    from hat_deploy.folders.shards import Shard

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATHS",
        help="The image files and folders to upscale, here or in a store as s3://bucket/in/; - is "
        "standard input.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FOLDER|FILE",
        help="The folder for results, here or in a store as s3://bucket/out/, or the file for the "
        "result of one image; - is standard output. Default: photos-x2/ beside photos/.",
    ),
]
Manifest = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Upscale the images that this file lists, in place of PATHS: JSON lines, CSV or "
        "Parquet with a column source and perhaps target, here or in a store.",
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        metavar="I/N|auto",
        help="Do the share I of N of the images, numbered from 0; auto takes both from AWS Batch, "
        "Slurm or, as auto/N, Kubernetes.",
    ),
]


class Asked(NamedTuple):
    """What the user named."""

    paths: list[Location]
    output: Location | None
    manifest: Location | None
    shard: Shard

    @property
    def streamed(self) -> bool:
        """Whether jobs are told while they are listed."""
        places = (*self.paths, self.output)
        return self.manifest is not None or any(
            place is not None and not isinstance(place, Path) for place in places
        )

    @property
    def here(self) -> list[Path]:
        """The files and folders of this machine that are read."""
        places = [*self.paths, *([self.manifest] if self.manifest else [])]
        return [place for place in places if isinstance(place, Path)]


def asked(
    paths: list[str] | None, output: str | None, manifest: str | None, shard: str | None
) -> Asked:
    """The places and the share that were named.

    Raises:
        UsageError: neither or both of paths and a manifest, an unknown scheme or a bad share.
    """
    from hat_deploy.folders import shards
    from hat_deploy.folders.places.remote import located

    if not paths and manifest is None:
        raise UsageError("there is nothing to upscale: name images, folders or a --manifest")
    if paths and manifest is not None:
        raise UsageError("--manifest takes the place of PATHS: leave one of them out")
    return Asked(
        [located(path) for path in paths or []],
        None if output is None else located(output),
        None if manifest is None else located(manifest),
        shards.WHOLE if shard is None else shards.parse(shard, os.environ),
    )


def find(
    asked: Asked, *, mark: str, recursive: bool, format_: str | None, overwrite: bool
) -> JobList | JobStream:
    """The jobs of this share: a list of what lies here, a stream of what does not."""
    from hat_deploy.folders import job_list, job_stream, manifest

    found: JobList | JobStream
    if asked.manifest is not None:
        found = manifest.stream_manifest(asked.manifest, asked.output, format=format_)
    elif asked.streamed:
        found = job_stream.stream_jobs(
            asked.paths, mark=mark, output=asked.output, recursive=recursive, format=format_
        )
    else:
        output = asked.output
        assert output is None or isinstance(output, Path)
        found = job_list.list_jobs(
            local(asked.paths),
            mark=mark,
            output=output,
            recursive=recursive,
            format=format_,
            overwrite=overwrite,
        )
    return job_stream.share_of(found, asked.shard)


def local(paths: Sequence[Location]) -> list[Path]:
    """The paths of this machine."""
    return [path for path in paths if isinstance(path, Path)]


def refuse_for_streams(context: typer.Context, asked: Asked, tile: str | None) -> None:
    """Refuse what needs all images at hand, or a file system.

    Raises:
        UsageError: such an option was given.
    """
    auto = tile is not None and tile.strip().lower() == "auto"
    if auto and asked.shard.count > 1:
        raise UsageError("--tile auto would choose another tile in each shard: give a size")
    if not asked.streamed:
        return
    if auto:
        raise UsageError("--tile auto looks at the images first, which lie elsewhere: give a size")
    if asked.manifest is not None:
        refuse(context, ["recursive"], "a manifest lists the images themselves")
        refuse(context, ["suffix"], "a manifest names results itself, or they go by their sources")
    if asked.output is not None and not isinstance(asked.output, Path):
        refuse(context, ["keep_times"], "an object carries the time at which it was written")
