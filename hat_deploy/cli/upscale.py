"""``hat-deploy upscale``: files and folders in, larger pictures out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli.options import Device, EngineFile, Halo, Model, Tile, parse_tile
from hat_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from hat_deploy.jobs import Failed, Outcome

INCOMPLETE = 3
"""Exit code of a run that finished, but could not process some inputs."""


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files or folders.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for results; by default photos-x2/ beside photos/."
        ),
    ] = None,
    model: Model = None,
    engine: EngineFile = None,
    tile: Tile = None,
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
) -> None:
    """Upscale pictures; what cannot be processed is listed, the rest is done."""
    if model is not None and engine is not None:
        raise UsageError("--model and --engine exclude each other: give one")
    from rich.console import Console

    from hat_deploy import jobs, sources, zoo
    from hat_deploy.upscaler import Upscaler

    console = Console(stderr=True)
    chosen = engine or model or zoo.DEFAULT
    with console.status("") as status:
        upscaler = Upscaler(
            chosen,
            tile=parse_tile(tile),
            halo=halo,
            device=device.value,
            on_stage=lambda stage: status.update(f"exporting {chosen} once: {stage} ..."),
        )
    plan = sources.plan(
        paths,
        scale=upscaler.scale,
        output=output,
        recursive=recursive,
        format=format_,
        overwrite=overwrite,
    )
    if not plan.jobs and not plan.rejected:
        raise UsageError("no pictures found: " + ", ".join(map(sources.display_name, paths)))
    rejected = [jobs.Failed(source=r.source, reason=r.reason) for r in plan.rejected]
    with upscaler, _progress(console) as progress:
        task = progress.add_task("", total=len(plan.jobs), tiles="")
        run = jobs.run(
            plan.jobs,
            upscaler,
            overwrite=overwrite,
            quality=quality,
            on_tiles=_tile_counter(progress, task),
        )
        counts, failed = _follow(run, progress, task)
    _summary(counts, rejected + failed, upscaler.engine.name)


def _progress(console: Console) -> Progress:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("pictures"),
        progress.MofNCompleteColumn(),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[tiles]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=console,
    )


def _follow(
    outcomes: Iterator[Outcome], progress: Progress, task: TaskID
) -> tuple[Counter[str], list[Failed]]:
    """Show each outcome as it comes; count them by kind."""
    from hat_deploy import jobs
    from hat_deploy.sources import display_name

    counts: Counter[str] = Counter()
    failed = []
    for number, outcome in enumerate(outcomes, 1):
        progress.update(task, completed=number, tiles="")
        counts[type(outcome).__name__] += 1
        if isinstance(outcome, jobs.Failed):
            failed.append(outcome)
        elif isinstance(outcome, jobs.Done):
            for note in outcome.notes:
                progress.console.print(
                    f"note: {display_name(outcome.job.source)}: {note}", markup=False
                )
    return counts, failed


def _tile_counter(progress: Progress, task: TaskID) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        pictures = int(progress.tasks[0].completed)
        progress.update(task, completed=pictures + done / total, tiles=f"tile {done}/{total}")

    return show


def _summary(counts: Counter[str], failed: list[Failed], engine: str) -> None:
    """Say what became of every input; exit with 3 if something could not be processed."""
    from hat_deploy.sources import display_name

    typer.echo(
        f"{counts['Done']} upscaled, {counts['Skipped']} skipped (results exist), "
        f"{len(failed)} not processed; {engine}"
    )
    for failure in failed:
        typer.echo(f"not processed: {display_name(failure.source)}: {failure.reason}", err=True)
    if failed:
        raise typer.Exit(INCOMPLETE)
