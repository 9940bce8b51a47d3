"""``hat-deploy upscale``: files and folders in, larger images out."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hat_deploy.cli import environment, fleet, outputs, upscale_pipe
from hat_deploy.cli.options import (
    AsJson,
    Backend,
    Compute,
    ConvScale,
    Device,
    DevicesOption,
    EngineFile,
    Exact,
    Halo,
    ImgRange,
    Model,
    Passes,
    PrecisionOption,
    QkScale,
    Shift,
    artifact_named,
    log_to_stderr,
    one_model,
    parse_bytes,
    parse_colour,
    parse_tile,
    refuse,
    refuse_for_artifact,
    refuse_for_made,
)
from hat_deploy.errors import UsageError
from hat_deploy.terminal.printable import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console

    from hat_deploy.api import Upscaler
    from hat_deploy.artifact import Artifact
    from hat_deploy.artifact.resolve import Checkpoint
    from hat_deploy.cli.upscale_display import Display
    from hat_deploy.engines.cuda.visible import Devices
    from hat_deploy.folders import Options, Outcome
    from hat_deploy.folders.job_list import JobList
    from hat_deploy.folders.job_stream import JobStream
    from hat_deploy.folders.places.remote import Location
    from hat_deploy.folders.unexported import Unexported

AUTO = "auto"
FOLDER_OPTIONS = (
    "shard",
    "recursive",
    "suffix",
    "memory",
    "keep_times",
    "report",
    "fail_fast",
    "dry_run",
    "as_json",
)
"""Parameters that are about many images."""
CLIP_OPTIONS = ("codec", "crf", "preset", "pixel_format", "deinterlace", "reuse")
"""Parameters that are about clips."""
WITHOUT_QUALITY = ("png", "tif", "tiff", "bmp", "gif")
"""Formats that lose nothing, or as much whatever is asked for."""


def command(
    context: typer.Context,
    paths: fleet.Paths = None,
    output: fleet.Output = None,
    manifest: fleet.Manifest = None,
    shard: fleet.ShardOf = None,
    ray: fleet.Ray = None,
    model: Model = None,
    engine: EngineFile = None,
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --model, or an artifact of any size: the size of a tile, its halo "
            "included, as 256 or HEIGHTxWIDTH; or auto, which chooses by the images and the free "
            "memory.",
        ),
    ] = None,
    halo: Halo = None,
    exact: Exact = False,
    passes: Passes = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also upscale the images in subfolders.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Redo and replace results that exist.")
    ] = False,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="The format of the results: png, jpg, webp, avif, gif, tiff or bmp; of clips mp4, "
            "m4v, mov, mkv, webm, ts, m2ts or mts. Default: that of each source.",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="PIXELS",
            help="The width of the results. With --height: the box that each result fills as far "
            "as its shape lets it.",
        ),
    ] = None,
    height: Annotated[
        int | None, typer.Option(min=1, metavar="PIXELS", help="The height of the results.")
    ] = None,
    longest: Annotated[
        int | None,
        typer.Option(min=1, metavar="PIXELS", help="The longer side of the results."),
    ] = None,
    megapixels: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="The most millions of pixels that a result may have."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="The factor on both sides, as 1.5. Default: the network's own. The network runs "
            "as often as it takes; what is then too large is shrunk.",
        ),
    ] = None,
    linear_light: Annotated[
        bool,
        typer.Option(
            "--linear-light", help="Average light, not stored values, where a result is shrunk."
        ),
    ] = False,
    suffix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What default names of results end in, as _large. Default: -x2, for a factor of "
            "2.",
        ),
    ] = None,
    quality: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            metavar="NUMBER",
            help="The quality of JPEG, WebP and AVIF results; 100 makes WebP and AVIF lossless.",
        ),
    ] = 95,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of clips: h264, h265, av1, ffv1 or prores. Default: h264, or h265 for more than "
            "8 bits; av1 in .webm.",
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="NUMBER",
            help="The quality of clips in h264, h265 or av1; lower is better and larger. Default: "
            "18, 20 and 24.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How much time the encoder of clips takes: ultrafast to placebo, or 0 to 13 for "
            "av1. Default: medium, or 8.",
        ),
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of clips, by FFmpeg's name, as yuv420p10le. Default: that of each source, as far "
            "as the codec takes it.",
        ),
    ] = None,
    deinterlace: Annotated[
        bool,
        typer.Option("--deinterlace", help="Make whole frames of interlaced clips first."),
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse/--no-reuse",
            help="Whether frames of a clip that are as the one before are computed once.",
        ),
    ] = True,
    device: DevicesOption = Device.CPU.value,
    backend: Backend = None,
    compute: Compute = None,
    precision: PrecisionOption = None,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    threads: Annotated[
        int | None,
        typer.Option(
            envvar=environment.THREADS,
            min=1,
            metavar="COUNT",
            help="The threads that an engine on the CPU computes with. Default: all cores.",
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="COUNT",
            help="With --model: the tiles that the engine computes in one call.",
        ),
    ] = 1,
    streams: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="COUNT",
            help="The number of tiles that OpenVINO computes side by side, each in memory of its "
            "own.",
        ),
    ] = 1,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test/--no-self-test",
            help="Whether an engine first computes the artifact's own test tile, once on each "
            "machine, and is refused where it gives another result than the reference.",
        ),
    ] = True,
    retry_wider: Annotated[
        bool,
        typer.Option(
            "--retry-wider/--no-retry-wider",
            help="Whether a tile that is not finite in half precision is computed again in fp32, "
            "where --model can be exported in it. Without, its image fails.",
        ),
    ] = True,
    memory: Annotated[
        str | None,
        typer.Option(
            envvar=environment.MEMORY,
            metavar="BYTES",
            help="The memory for images and results held at once, as 512M or 4G; a larger result "
            "is put together on the disk. The engine's own memory comes on top, and up to 128 MiB "
            "for each thread that reads or writes. Default: a quarter of what is free.",
        ),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="COUNT",
            help="Refuse images of more pixels than this without opening them. Default: "
            "268,435,456.",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOUR",
            help="The colour that lies behind transparent pixels where the format holds no "
            "transparency, as JPEG: white, black or #rrggbb. Default: such images are refused.",
        ),
    ] = None,
    keep_times: Annotated[
        bool,
        typer.Option("--keep-times", help="Give each result the time of change of its source."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a line of JSON for each image to this file: what became of it.",
        ),
    ] = None,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop at the first image that cannot be processed."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also say what became of each image.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upscale images, clips and folders of them; the same command resumes a run that ended early.

    An image that cannot be processed is listed at the end, and the rest is done. A journal in the
    folder of results knows what is done; with another model or other settings, results are made
    again.
    """
    model, engine = one_model(context, model, engine)
    asked = fleet.asked(paths, output, manifest, shard, ray)
    artifact = engine if engine is not None else artifact_named(model)
    refuse_for_artifact(context, artifact, backend)
    if artifact is not None:
        refuse_for_made(context, artifact)
        if artifact.suffix.lower() == ".plan":
            refuse(context, ["threads"], "a plan runs on the GPU")
    if format_ is not None and format_.lower().removeprefix(".") in WITHOUT_QUALITY:
        refuse(context, ["quality"], f"{format_} takes none; the option is for jpg, webp and avif")
    from hat_deploy import folders
    from hat_deploy.artifact import zoo
    from hat_deploy.images.picture import SUFFIXES as IMAGES

    if all(path.suffix.lower() in IMAGES for path in asked.paths) or asked.streamed:
        refuse(context, CLIP_OPTIONS, "it is for clips on this machine, and only images are named")
    from hat_deploy.tiles.target_size import TargetSize, mark_of
    from hat_deploy.video.options import VideoOptions

    size = None
    if any(value is not None for value in (width, height, longest, megapixels, scale)):
        size = TargetSize(
            width=width, height=height, longest=longest, megapixels=megapixels, scale=scale
        )
    if size is None:
        refuse(context, ["linear_light"], "it takes a size: add --scale, --width or another one")
    if output is not None:
        refuse(context, ["suffix"], "with -o, results keep the names of their sources")
    options = folders.Options(
        background=parse_colour("--background", background),
        keep_times=keep_times,
        size=size,
        linear_light=linear_light,
        quality=quality,
        overwrite=overwrite,
        fail_fast=fail_fast,
        memory=parse_bytes("--memory", memory),
        max_pixels=max_pixels or folders.Options.max_pixels,
        video=VideoOptions(
            codec=codec,
            crf=crf,
            preset=preset,
            pixel_format=pixel_format,
            deinterlace=deinterlace,
            reuse=reuse,
        ),
        shard=asked.shard,
    )
    fleet.refuse_for_streams(context, asked, tile)
    ending = None if suffix is None else _ending(suffix)

    def find(scale: int) -> JobList | JobStream:
        mark = ending or mark_of(size, scale)
        return fleet.find(
            asked, mark=mark, recursive=recursive, format_=format_, overwrite=overwrite
        )

    def on_cluster(
        listed: JobStream, upscaler: Upscaler, *given: Any, **heard: Any
    ) -> Generator[Outcome, None, None]:
        mark = ending or mark_of(size, upscaler.scale)
        search = fleet.search(asked, mark=mark, recursive=recursive, format_=format_)
        return fleet.on_cluster(asked, search, listed, upscaler, *given, **heard, verbose=verbose)

    how = {
        "batch": batch,
        "threads": threads,
        "halo": halo,
        "exact": exact,
        "passes": passes,
        "device": device,
        "backend": backend,
        "compute": compute,
        "precision": precision,
        "streams": streams,
        "conv_scale": conv_scale,
        "img_range": img_range,
        "qk_scale": qk_scale,
        "shift": shift,
        "self_test": self_test and not dry_run,
        "retry_wider": retry_wider,
    }
    chosen = str(engine or model or zoo.DEFAULT)
    piped = None if output is None else Path(output)
    if not asked.streamed and upscale_pipe.asked_for(asked.here, piped):
        reason = "an image from standard input or to standard output goes alone"
        refuse(context, FOLDER_OPTIONS, reason)
        _pipe(asked.here[0], piped, chosen, how, tile, options, format_, quiet=quiet)
        return
    if not dry_run:
        read = [*asked.here, engine or chosen]
        outputs.check({"--report": report}, read, recursive=recursive, streamed=True)
    if tile is not None and tile.strip().lower() == AUTO:
        refuse(context, ["batch"], "--tile auto chooses the batch too")
    if quiet and verbose:
        raise UsageError("--quiet and --verbose ask for opposites: give one of them")
    if verbose:
        log_to_stderr()
    _upscale(
        asked,
        chosen,
        how,
        tile,
        find,
        options,
        report,
        dry=dry_run,
        quiet=quiet,
        as_json=as_json,
        on_cluster=None if ray is None else on_cluster,
    )


def _pipe(
    source: Path,
    output: Path | None,
    chosen: str,
    how: dict[str, Any],
    tile: str | None,
    options: Options,
    form: str | None,
    *,
    quiet: bool,
) -> None:
    """Upscale one image from standard input, or to standard output."""
    from hat_deploy.artifact.resolve import resolve
    from hat_deploy.folders.unexported import Unexported
    from hat_deploy.images.stderr import libraries_silenced
    from hat_deploy.terminal.screen import SafeConsole

    console = SafeConsole(stderr=True, quiet=quiet)
    how = how | {"tile": parse_tile(tile)}
    with libraries_silenced(), _open(resolve(chosen), how, console, dry=False) as upscaler:
        assert not isinstance(upscaler, Unexported), "only a dry run does without its engine"
        upscale_pipe.pipe(source, output, upscaler, options, form=form, console=console)


def _upscale(
    asked: fleet.Asked,
    chosen: str,
    how: dict[str, Any],
    tile: str | None,
    find: Callable[[int], JobList | JobStream],
    options: Options,
    report: Path | None,
    *,
    dry: bool,
    quiet: bool,
    as_json: bool,
    on_cluster: Callable[..., Generator[Outcome, None, None]] | None,
) -> None:
    """Open what upscales, find the images, and do or foretell the work.

    Args:
        asked: what the user named, for a message.
        chosen: the artifact, the checkpoint or the name of a model that ships.
        how: arguments of ``Upscaler``, but for the tile.
        tile: as the user wrote it.
        find: the jobs, given the network's factor.
        on_cluster: works through the jobs there; None does it here.
    """
    from hat_deploy import folders
    from hat_deploy.artifact.resolve import resolve
    from hat_deploy.cli.upscale_display import Display
    from hat_deploy.engines.cuda.visible import settle_all
    from hat_deploy.errors import require
    from hat_deploy.folders.job_list import JobList
    from hat_deploy.folders.unexported import Unexported
    from hat_deploy.images.stderr import libraries_silenced
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole
    from hat_deploy.video.names import is_clip

    with libraries_silenced():
        console = SafeConsole(stderr=True, quiet=quiet)
        named = resolve(chosen)
        where = settle_all(how["device"])
        sides, batch = _tile(tile, named, find, options, console, where, exact=how["exact"])
        how = how | {"tile": sides, "batch": batch or how["batch"]}
        with _open(named, how, console, dry=dry) as upscaler:
            listed = find(upscaler.scale)
            name = upscaler.name if isinstance(upscaler, Unexported) else upscaler.engine.name
            display = Display(console, listed, engine=name, dry=dry, as_json=as_json)
            if isinstance(listed, JobList) and not listed.jobs and not listed.rejected:
                searched = ", ".join(map(display_name, asked.paths))
                display.say(f"no images found in {searched}: there is nothing to do")
            _require_own_file(report, listed)
            jobs = listed.jobs if isinstance(listed, JobList) else []
            if jobs and all(is_clip(job.source) for job in jobs):
                require("av", purpose="Upscaling a clip")
            if isinstance(upscaler, Unexported):
                display.say(upscaler.sentence)
            if dry or isinstance(upscaler, Unexported):
                _preview(listed, upscaler, options, display)
            else:
                heard: dict[str, Any] = {"progress": display.progress, "on_note": display.note}
                if on_cluster is None:
                    outcomes = folders.run_list(listed, upscaler, options, **heard)
                else:
                    outcomes = on_cluster(listed, upscaler, how, options, **heard)
                _run(outcomes, listed, report, display)
    display.finish()


def _ending(suffix: str) -> str:
    """What names are to end in before the format's own suffix."""
    if not suffix or set(suffix) & {"/", os.sep, "\0"}:
        raise UsageError(
            f"--suffix {display_name(suffix)!r}: expected text that a file's name can end in"
        )
    return suffix


def _tile(
    text: str | None,
    named: Artifact | Checkpoint,
    find: Callable[[int], JobList | JobStream],
    options: Options,
    console: Console,
    where: Devices,
    *,
    exact: bool,
) -> tuple[tuple[int, int] | None, int]:
    """The tile and batch that were asked for, or chosen ones, announced with their reason.

    A batch of 0 leaves it as it was asked for.
    """
    if text is None or text.strip().lower() != AUTO:
        return parse_tile(text), 0
    from hat_deploy.folders import auto_tile
    from hat_deploy.folders.job_list import JobList

    listed = find(auto_tile.network_of(named)[0].scale)
    jobs = listed.jobs if isinstance(listed, JobList) else []
    if not jobs:
        return None, 0
    tile, batch, why = auto_tile.choose_tile(
        jobs, named, options, gpu=where.on_gpu, exact=exact, engines=where.count
    )
    console.print(why, markup=False, highlight=False, soft_wrap=True)
    return tile, batch


def _open(
    named: Artifact | Checkpoint, how: dict[str, Any], console: Console, *, dry: bool
) -> Upscaler | Unexported:
    """What upscales; in a dry run that would have to export first, what stands for it."""
    from hat_deploy.api import Upscaler
    from hat_deploy.artifact.resolve import Checkpoint
    from hat_deploy.folders import unexported
    from hat_deploy.terminal.screen import status

    if dry and (later := unexported.find_unexported(named, **how)) is not None:
        return later
    name = named.name if isinstance(named, Checkpoint) else named.path.name
    with status(console) as say:
        return Upscaler(
            named,
            **how,
            on_stage=lambda stage: say(f"exporting {name} once: {stage} ..."),
            on_warning=lambda warning: typer.echo(f"warning: {warning}", err=True),
        )


def _run(
    run: Generator[Outcome, None, None],
    listed: JobList | JobStream,
    target: Path | None,
    display: Display,
) -> None:
    from hat_deploy.folders.engine_loop import INTERRUPTED, untried
    from hat_deploy.folders.job_list import JobList
    from hat_deploy.folders.outcome_log import Report

    told: set[tuple[Location, Location | None]] = set()
    jobs = listed.jobs if isinstance(listed, JobList) else []
    with Report(target) as report, display:
        try:
            with closing(run) as outcomes:
                for outcome in outcomes:
                    if jobs:
                        told.add((outcome.source, outcome.target))
                    report.add(outcome)
                    display.add(outcome)
        except KeyboardInterrupt:
            for job in jobs:  # where it came while an outcome was shown
                if (job.source, job.target) not in told:
                    report.add(untried(job, INTERRUPTED))
                    display.add(untried(job, INTERRUPTED))
            display.stop()
            with suppress(typer.Exit):
                display.finish()
            raise
    if report.problem:
        display.problem(f"the report {target} is incomplete: {report.problem}")


def _require_own_file(report: Path | None, listed: JobList | JobStream) -> None:
    """Refuse a report in the place of a result, or of the journal that knows them."""
    from hat_deploy.folders import journal
    from hat_deploy.folders.job_list import JobList

    if report is None or not isinstance(listed, JobList):
        return
    place = Path(os.path.realpath(report))
    journals = {job.root / journal.NAME for job in listed.jobs}
    for taken in (*journals, *(job.target for job in listed.jobs)):
        if taken.name == place.name and Path(os.path.realpath(str(taken))) == place:
            raise UsageError(
                f"--report {display_name(report)} is where this run writes a result or its "
                "journal: give it another name"
            )


def _preview(
    listed: JobList | JobStream, upscaler: Upscaler | Unexported, options: Options, display: Display
) -> None:
    from hat_deploy.folders.job_stream import found_in
    from hat_deploy.folders.preview import preview

    for foretold in preview(found_in(listed), upscaler, options, display.note):
        display.foretell(foretold)
