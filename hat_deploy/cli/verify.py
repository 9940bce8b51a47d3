"""``hat-deploy verify``: an artifact's numbers against the reference, on real pictures.

With ``--ranges`` it needs no artifact: it measures how large the checkpoint's own values grow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli import outputs
from hat_deploy.cli.options import (
    Backend,
    Compute,
    ConvScale,
    Device,
    Halo,
    ImgRange,
    QkScale,
    Shift,
    print_json,
    refuse,
    refuse_for_artifact,
)
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.geometry import image_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hat_deploy.verify.fidelity import PictureFidelity, Report
    from hat_deploy.verify.layer_errors import LayersReport
    from hat_deploy.verify.ranges import RangesReport
    from hat_deploy.verify.verification import VerifyOptions


def command(
    context: typer.Context,
    reference: Annotated[
        str, typer.Option(help="The checkpoint it was made from, or a model that ships.")
    ],
    engine: Annotated[
        Path | None, typer.Option(help="The artifact to verify; not with --ranges.")
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PICTURES...]", help="Image files, or folders of them; default: two that ship."
        ),
    ] = None,
    ranges: Annotated[
        bool,
        typer.Option(
            "--ranges",
            help="Instead, print how large the checkpoint's values grow in each block, and "
            "which precision that allows.",
        ),
    ] = False,
    random: Annotated[int, typer.Option(min=0, help="Add this many pictures of noise.")] = 0,
    min_psnr: Annotated[
        float | None,
        typer.Option(help="Least PSNR in dB; default: fp32 90, fp16 60, bf16 50."),
    ] = None,
    max_abs: Annotated[
        float | None,
        typer.Option(help="Largest difference of any value (range 0 to 1); default: by precision."),
    ] = None,
    halo: Halo = None,
    whole: Annotated[
        bool | None,
        typer.Option(
            "--whole/--no-whole",
            help="Also run whole pictures, where they fit into memory (the default).",
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Also compare after every block, on one tile, and name the first that is off.",
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page of pictures and figures: FILE.html.")
    ] = None,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    device: Annotated[Device, typer.Option(help="Where to run both.")] = Device.CPU,
    backend: Backend = None,
    compute: Compute = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare an artifact with the PyTorch network of its checkpoint; exit with 1 if it differs."""
    if ranges and engine is not None:
        raise UsageError(
            "--ranges measures the checkpoint, not an artifact: leave out --engine, or --ranges"
        )
    if not ranges and engine is None:
        raise UsageError("there is no artifact to verify: give --engine FILE, or --ranges")
    if ranges:
        refuse(
            context,
            ABOUT_ARTIFACT,
            "--ranges measures the checkpoint alone; leave it out and give --engine FILE",
        )
    refuse_for_artifact(context, engine, backend)
    if report is not None:
        from hat_deploy.reports import page

        page.check_path(report)
    outputs.check({"--report": report}, [engine, reference, *(pictures or ())])
    from hat_deploy.verify.verification import VerifyOptions

    options = VerifyOptions(
        random=random,
        halo=halo,
        min_psnr=min_psnr,
        max_abs=max_abs,
        device=device.value,
        backend=backend,
        compute=compute,
        whole=whole is not False,
        layers=layers,
        conv_scale=conv_scale,
        img_range=img_range,
        qk_scale=qk_scale,
        shift=shift,
    )
    if engine is None:
        _measure(reference, pictures or (), options, as_json)
    else:
        _verify(engine, reference, pictures or (), options, as_json, report)


ABOUT_ARTIFACT = (
    "min_psnr",
    "max_abs",
    "halo",
    "whole",
    "layers",
    "report",
    "backend",
    "compute",
)
"""Options that say nothing about a checkpoint, which ``--ranges`` measures."""


def _verify(
    engine: Path,
    reference: str,
    pictures: Sequence[Path],
    options: VerifyOptions,
    as_json: bool,
    target: Path | None,
) -> None:
    from hat_deploy.reports import page
    from hat_deploy.reports.verification import VerificationPage
    from hat_deploy.terminal.screen import status
    from hat_deploy.verify.verification import verify

    album = VerificationPage()
    with status() as say:
        report = verify(
            engine,
            reference,
            pictures,
            options,
            on_stage=lambda stage: say(f"comparing on {stage} ..."),
            on_rendering=album.add if target is not None else lambda rendering: None,
        )
    if target is not None:
        page.save(album.html(report), target)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    if not report.passed:
        raise CheckFailed(f"{engine} is not verified: " + "; ".join(report.failures))


def _measure(
    reference: str, pictures: Sequence[Path], options: VerifyOptions, as_json: bool
) -> None:
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole, status
    from hat_deploy.verify import ranges as ranges_report

    with status() as say:
        report = ranges_report.report(
            reference,
            pictures,
            options,
            on_stage=lambda stage: say(f"measuring on {stage} ..."),
        )
    if as_json:
        print_json(report.to_dict())
        return
    typer.echo(f"{display_name(report.reference['path'])}: largest absolute values, PyTorch fp32")
    typer.echo(f"pictures: {', '.join(map(display_name, report.pictures))}")
    typer.echo("stream: the residual stream that a block leaves, in half under fp16-pure alone")
    typer.echo("layers: what its layers give that fp16 computes in half")
    typer.echo("scores: its attention's on their way to softmax, in half under fp16 too")
    typer.echo("of 65504: the largest of these beside fp16's largest number")
    SafeConsole().print(_ranges_table(report))
    typer.echo(report.advice)


def _ranges_table(report: RangesReport) -> Table:
    """Of each block, the stream it leaves, its layers in half and its attention scores, with
    the largest one's share of fp16's range."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.verify.ranges import share

    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("block", no_wrap=True)
    for column in ("stream", "layers", "scores", "of 65504"):
        table.add_column(column, justify="right", no_wrap=True)
    for peak in report.peaks:
        # What has no layers in half, or no attention: a 0 would look like a measurement.
        count = {"RHAG": 1, "HAT": 2}.get(peak.kind, 3)
        values = (peak.stream, peak.inside, peak.scores)
        figures = [f"{value:.4g}" if i < count else "" for i, value in enumerate(values)]
        table.add_row(peak.block, *figures, f"{100 * share(max(values)):.3g}%")
    return table


def _print(report: Report) -> None:
    from hat_deploy.reports import wording
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole

    typer.echo(f"{display_name(report.artifact['path'])}: {report.engine}")
    reference = display_name(report.reference["path"])
    typer.echo(f"reference: {reference}, PyTorch fp32, halo {_halo(report)}")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    console = SafeConsole()
    for picture in report.pictures:
        console.print(_table(picture))
        if picture.whole_skipped:
            typer.echo(f"{display_name(picture.name)}: not run whole: {picture.whole_skipped}")
    if report.foreign_constants == ():
        typer.echo("weights: every constant of the artifact is the checkpoint's, bit for bit")
    if report.layers is not None:
        typer.echo(f"block by block, {report.layers.engine}, one tile of {report.layers.picture}")
        console.print(_layers_table(report.layers))
        typer.echo(report.layers.summary)
    if report.passed:
        typer.echo(f"verified: {wording.limits(report)}")


def _table(picture: PictureFidelity) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from hat_deploy.reports import wording
    from hat_deploy.terminal.printable import display_name

    size = image_size(picture.height, picture.width)
    title = Text(f"{display_name(picture.name)}, {size}", style="bold")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("compared", no_wrap=True)
    for column in wording.COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, difference in wording.rows(picture):
        table.add_row(name, *wording.cells(difference))
    return table


def _layers_table(layers: LayersReport) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("block", no_wrap=True)
    for column in ("PSNR dB", "max abs", "relative", "peak"):
        table.add_column(column, justify="right", no_wrap=True)
    for block in layers.blocks:
        style = "bold" if block is layers.offender else None
        figures = (
            f"{block.psnr:.1f}",
            f"{block.difference.max_abs:.1e}",
            f"{block.relative:.1e}",
            f"{block.peak:.4g}",
        )
        table.add_row(block.block, *figures, style=style)
    return table


def _halo(report: Report) -> int:
    return int(report.settings["halo"])
