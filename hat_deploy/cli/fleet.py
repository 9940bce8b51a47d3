"""The part of ``hat-deploy upscale`` that is about stores, manifests and shares of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from hat_deploy.cli.options import refuse
from hat_deploy.errors import UsageError, require

if TYPE_CHECKING:
    from hat_deploy.api import Upscaler
    from hat_deploy.folders import OnProgress, Options, Outcome
    from hat_deploy.folders.job_list import JobList
    from hat_deploy.folders.job_stream import JobStream
    from hat_deploy.folders.places.remote import Location
    from hat_deploy.folders.search import Search
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
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="auto|local|ADDRESS",
        help="Work on a Ray cluster: auto joins the one that runs here, local starts one on this "
        "machine, and an address is HOST:PORT or ray://HOST:PORT.",
    ),
]


class Asked(NamedTuple):
    """What the user named."""

    paths: list[Location]
    output: Location | None
    manifest: Location | None
    shard: Shard
    ray: str | None

    @property
    def streamed(self) -> bool:
        """Whether jobs are told while they are listed."""
        places = (*self.paths, self.output)
        return (self.manifest or self.ray) is not None or any(
            place is not None and not isinstance(place, Path) for place in places
        )

    @property
    def here(self) -> list[Path]:
        """The files and folders of this machine that are read."""
        places = [*self.paths, *([self.manifest] if self.manifest else [])]
        return [place for place in places if isinstance(place, Path)]


def asked(
    paths: list[str] | None,
    output: str | None,
    manifest: str | None,
    shard: str | None,
    ray: str | None = None,
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
        ray,
    )


def search(asked: Asked, *, mark: str, recursive: bool, format_: str | None) -> Search:
    """What to look for where jobs are told one by one."""
    from hat_deploy.folders.search import Search

    return Search(
        paths=tuple(asked.paths),
        manifest=asked.manifest,
        output=asked.output,
        mark=mark,
        recursive=recursive,
        format=format_,
    )


def find(
    asked: Asked, *, mark: str, recursive: bool, format_: str | None, overwrite: bool
) -> JobList | JobStream:
    """The jobs of this share: a list of what lies here, a stream of what does not."""
    from hat_deploy.folders import job_list, job_stream

    found: JobList | JobStream
    if asked.streamed:
        found = search(asked, mark=mark, recursive=recursive, format_=format_).stream()
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


def on_cluster(
    asked: Asked,
    search: Search,
    listed: JobStream,
    upscaler: Upscaler,
    how: Mapping[str, Any],
    options: Options,
    *,
    progress: OnProgress,
    on_note: Callable[[str], object],
    verbose: bool,
) -> Generator[Outcome, None, None]:
    """Work through a search on the Ray cluster that was named; Ray is imported here first.

    Args: as for :func:`hat_deploy.folders.cluster.run.run`.

    Raises:
        HatDeployError: as that one, or there is no such cluster.
    """
    from hat_deploy.folders.cluster import joining

    assert asked.ray is not None
    with joining.joined(asked.ray, verbose=verbose):
        from hat_deploy.folders.cluster.run import run

        yield from run(search, listed, upscaler, how, options, progress=progress, on_note=on_note)


def local(paths: Sequence[Location]) -> list[Path]:
    """The paths of this machine."""
    return [path for path in paths if isinstance(path, Path)]


def refuse_for_streams(context: typer.Context, asked: Asked, tile: str | None) -> None:
    """Refuse what needs all images at hand, or a file system.

    Raises:
        UsageError: such an option was given.
    """
    auto = tile is not None and tile.strip().lower() == "auto"
    if asked.ray is not None:
        refuse(context, ["shard"], "Ray hands the images out itself")
        if auto:
            raise UsageError(
                "--tile auto looks at the images first, which --ray does not: give a size"
            )
        if any(str(place) == "-" for place in (*asked.paths, asked.output)):
            raise UsageError("--ray works on files, and - is standard input or output")
        if (device := context.params["device"]) not in ("cpu", "cuda"):
            raise UsageError(
                f"--device {device}: with --ray say cpu or cuda, and each GPU gets a worker"
            )
        require("ray", purpose="Working on a cluster")
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
