"""``hat-deploy upscale``: files and folders in, larger pictures out."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hat_deploy.cli import outputs
from hat_deploy.cli.options import (
    Backend,
    Compute,
    ConvScale,
    Device,
    EngineFile,
    Halo,
    ImgRange,
    Model,
    QkScale,
    Shift,
    artifact_named,
    parse_bytes,
    parse_tile,
    refuse,
    refuse_for_artifact,
    refuse_for_made,
)
from hat_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from hat_deploy.api import Upscaler
    from hat_deploy.artifact import Artifact
    from hat_deploy.artifact.resolve import Checkpoint
    from hat_deploy.cli.upscale_display import Display
    from hat_deploy.folders import Options
    from hat_deploy.folders.job_list import Plan
    from hat_deploy.folders.unmade import Unmade

AUTO = "auto"
LOSSLESS = ("png", "tif", "tiff", "bmp")
"""Formats that take no quality."""


def command(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files or folders.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for results; by default photos-x2/ beside photos/."
        ),
    ] = None,
    model: Model = None,
    engine: EngineFile = None,
    tile: Annotated[
        str | None,
        typer.Option(
            help="With --model: tile, halo included, 256 or HEIGHTxWIDTH; or auto, which "
            "chooses by the pictures and the free memory."
        ),
    ] = None,
    halo: Halo = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Enter subfolders.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Redo results that exist.")
    ] = False,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="png, jpg, webp, tiff or bmp; by default the source's."),
    ] = None,
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Of JPEG and WebP; 100 is lossless WebP.")
    ] = 95,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.CPU,
    backend: Backend = None,
    compute: Compute = None,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    streams: Annotated[
        int,
        typer.Option(
            min=1, help="Tiles that OpenVINO computes side by side, each in its own memory."
        ),
    ] = 1,
    memory: Annotated[
        str | None,
        typer.Option(
            help="For pictures and results held at once, 4G for instance; by default a quarter "
            "of what is free. A larger result is put together on the disk. The engine's own "
            "memory comes on top, and up to 128 MiB a codec thread."
        ),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Refuse larger pictures unopened; by default 268,435,456."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write what became of each picture, a JSON line each.")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first that cannot be processed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
    ] = False,
) -> None:
    """Upscale pictures; what cannot be processed is listed, the rest is done.

    A journal in the folder of results knows what is done: the same command resumes, another
    model or another setting redoes.
    """
    if model is not None and engine is not None:
        raise UsageError("--model and --engine exclude each other: give one")
    artifact = engine if engine is not None else artifact_named(model)
    refuse_for_artifact(context, artifact, backend)
    if artifact is not None:
        refuse_for_made(context, artifact)
    if format_ is not None and format_.lower().removeprefix(".") in LOSSLESS:
        refuse(context, ["quality"], f"{format_} keeps every value; it is for jpg and webp")
    from hat_deploy import folders as jobs
    from hat_deploy.artifact import zoo
    from hat_deploy.artifact.resolve import resolve
    from hat_deploy.cli.upscale_display import Display
    from hat_deploy.folders import job_list
    from hat_deploy.folders.unmade import Unmade
    from hat_deploy.images.stderr import libraries_silenced
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole

    options = jobs.Options(
        quality=quality,
        overwrite=overwrite,
        fail_fast=fail_fast,
        memory=parse_bytes("--memory", memory),
        max_pixels=max_pixels or jobs.Options.max_pixels,
    )
    find = partial(
        job_list.plan,
        paths,
        output=output,
        recursive=recursive,
        format=format_,
        overwrite=overwrite,
    )
    chosen = str(engine or model or zoo.DEFAULT)
    if not dry_run:
        read = [*paths, engine or chosen]
        outputs.check({"--report": report}, read, recursive=recursive, streamed=True)
    with libraries_silenced():
        console = SafeConsole(stderr=True)
        named = resolve(chosen)
        sides, batch = _tile(tile, named, find, options, device, console)
        how = {
            "tile": sides,
            "batch": batch,
            "halo": halo,
            "device": device.value,
            "backend": backend,
            "compute": compute,
            "streams": streams,
            "conv_scale": conv_scale,
            "img_range": img_range,
            "qk_scale": qk_scale,
            "shift": shift,
        }
        with _open(named, how, console, dry=dry_run) as upscaler:
            plan = find(scale=upscaler.scale)
            name = upscaler.name if isinstance(upscaler, Unmade) else upscaler.engine.name
            display = Display(console, total=len(plan.jobs), engine=name, dry=dry_run)
            if not plan.jobs and not plan.rejected:
                searched = ", ".join(map(display_name, paths))
                typer.echo(f"no images found in {searched}: there is nothing to do")
            _require_own_file(report, plan)
            if isinstance(upscaler, Unmade):
                typer.echo(upscaler.sentence)
            if dry_run:
                _preview(plan, upscaler, options, display)
            elif not isinstance(upscaler, Unmade):
                _run(plan, upscaler, options, report, display)
    display.finish()


def _tile(
    text: str | None,
    named: Artifact | Checkpoint,
    find: Callable[..., Plan],
    options: Options,
    device: Device,
    console: Console,
) -> tuple[tuple[int, int] | None, int]:
    """The tile that was asked for and the batch; chosen ones are announced with their reason."""
    if text is None or text.strip().lower() != AUTO:
        return parse_tile(text), 1
    from hat_deploy.folders import auto_tile

    jobs = find(scale=auto_tile.network_of(named)[0].scale).jobs
    if not jobs:
        return None, 1
    tile, batch, why = auto_tile.choose_tile(jobs, named, options, gpu=device is Device.CUDA)
    console.print(why, markup=False, highlight=False, soft_wrap=True)
    return tile, batch


def _open(
    named: Artifact | Checkpoint, how: dict[str, Any], console: Console, *, dry: bool
) -> Upscaler | Unmade:
    """What upscales; in a dry run that would have to export first, what stands for it."""
    from hat_deploy.api import Upscaler
    from hat_deploy.artifact.resolve import Checkpoint
    from hat_deploy.folders import unmade
    from hat_deploy.terminal.screen import status

    if dry and (later := unmade.unmade(named, **how)) is not None:
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
    plan: Plan, upscaler: Upscaler, options: Options, target: Path | None, display: Display
) -> None:
    from hat_deploy import folders as jobs
    from hat_deploy.folders.outcome_log import Report

    run = jobs.run_plan(plan, upscaler, options, progress=display.progress, on_note=display.note)
    with Report(target) as report, display, closing(run) as outcomes:
        for outcome in outcomes:
            report.add(outcome)
            display.add(outcome)
    if report.problem:
        display.problem(f"the report {target} is incomplete: {report.problem}")


def _require_own_file(report: Path | None, plan: Plan) -> None:
    """Refuse a report in the place of a result, or of the journal that knows them."""
    if report is None:
        return
    from hat_deploy.folders import journal
    from hat_deploy.terminal.printable import display_name

    place = Path(os.path.realpath(report))
    journals = {job.root / journal.NAME for job in plan.jobs}
    for taken in (*journals, *(job.target for job in plan.jobs)):
        if taken.name == place.name and Path(os.path.realpath(taken)) == place:
            raise UsageError(
                f"--report {display_name(report)} is where this run writes a result or its "
                "journal: give it another name"
            )


def _preview(plan: Plan, upscaler: Upscaler | Unmade, options: Options, display: Display) -> None:
    from hat_deploy import folders as jobs
    from hat_deploy.folders.preview import preview

    for rejected in plan.rejected:
        display.add(jobs.Failed(source=rejected.source, reason=rejected.reason))
    for found in preview(plan.jobs, upscaler, options, display.note):
        display.foretell(found, upscaler.scale)
