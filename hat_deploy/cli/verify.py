"""``hat-deploy verify``: an artifact's numbers against the reference, on real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli import outputs
from hat_deploy.cli.options import (
    AsJson,
    Backend,
    Compute,
    ConvScale,
    Device,
    DeviceOption,
    Halo,
    ImgRange,
    Passes,
    QkScale,
    Random,
    Shift,
    print_json,
    refuse_for_artifact,
)
from hat_deploy.errors import CheckFailed
from hat_deploy.geometry import image_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hat_deploy.verify.fidelity import PictureFidelity, Report
    from hat_deploy.verify.layer_errors import LayersReport
    from hat_deploy.verify.verification import VerifyOptions


def command(
    context: typer.Context,
    engine: Annotated[
        Path, typer.Option(metavar="FILE", help="The artifact to verify: an .onnx or a .plan.")
    ],
    reference: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="The checkpoint that the artifact was made from, or the name of a model that "
            "ships.",
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGES",
            help="Image files, or folders of them. Default: two images that ship.",
        ),
    ] = None,
    random: Random = 0,
    min_psnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="The PSNR in dB that must be reached. Default: by precision; fp32 90, fp16 60, "
            "bf16 50.",
        ),
    ] = None,
    max_abs: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="The largest difference of any value that is permitted, with values from 0 to 1. "
            "Default: by precision.",
        ),
    ] = None,
    halo: Halo = None,
    passes: Passes = None,
    whole: Annotated[
        bool | None,
        typer.Option(
            "--whole/--no-whole",
            help="Whether the reference also runs each image whole, without tiles, if it fits "
            "into memory. Default: --whole.",
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Also compare the values after every block on one tile, and name the first block "
            "that is off.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write a page of images and figures to this .html file."
        ),
    ] = None,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    device: DeviceOption = Device.CPU,
    backend: Backend = None,
    compute: Compute = None,
    as_json: AsJson = False,
) -> None:
    """Compare an artifact with the PyTorch network of its checkpoint; exit with 1 if it differs."""
    refuse_for_artifact(context, engine, backend)
    if report is not None:
        from hat_deploy.reports import page

        page.check_path(report)
    outputs.check({"--report": report}, [engine, reference, *(images or ())])
    from hat_deploy.verify.verification import VerifyOptions

    options = VerifyOptions(
        random=random,
        halo=halo,
        passes=passes,
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
    _verify(engine, reference, images or (), options, as_json, report)


def _verify(
    engine: Path,
    reference: str,
    images: Sequence[Path],
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
            images,
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


def _print(report: Report) -> None:
    from hat_deploy.reports import wording
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole

    typer.echo(f"{display_name(report.artifact['path'])}: {report.engine}")
    reference = display_name(report.reference["path"])
    typer.echo(f"reference: {reference}, PyTorch fp32, halo {_halo(report)}{_passes(report)}")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    console = SafeConsole()
    for picture in report.pictures:
        console.print(_table(picture))
        if picture.whole_skipped:
            typer.echo(f"{display_name(picture.name)}: not run whole: {picture.whole_skipped}")
        if padding := wording.padding(picture):
            typer.echo(f"{display_name(picture.name)}: {padding}")
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


def _passes(report: Report) -> str:
    passes = int(report.settings["passes"])
    return "" if passes == 1 else f", {passes} passes"
