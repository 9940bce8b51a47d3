"""``hat-deploy ranges``: how large a checkpoint's values grow, and which precision that allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli.options import (
    AsJson,
    ConvScale,
    Device,
    DeviceOption,
    ImgRange,
    QkScale,
    Random,
    Shift,
    print_json,
)

if TYPE_CHECKING:
    from rich.table import Table

    from hat_deploy.verify.ranges import RangesReport

LARGEST_LISTED = 10
"""Layers that are listed for their values alone."""


def command(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A .pth or .safetensors file, a hub's hf:ORG/NAME, or the name of a model that "
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
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    device: DeviceOption = Device.CPU,
    as_json: AsJson = False,
) -> None:
    """Measure how large a checkpoint's values grow, and say which precisions can hold them."""
    from hat_deploy.terminal.screen import status
    from hat_deploy.verify import ranges

    options = ranges.RangesOptions(
        random=random,
        device=device.value,
        conv_scale=conv_scale,
        img_range=img_range,
        qk_scale=qk_scale,
        shift=shift,
    )
    with status() as say:
        report = ranges.report(
            checkpoint,
            images or (),
            options,
            on_stage=lambda stage: say(f"{stage} ..."),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def _print(report: RangesReport) -> None:
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole

    typer.echo(f"{display_name(report.reference['path'])}: largest absolute values, PyTorch fp32")
    typer.echo(f"images: {', '.join(map(display_name, report.pictures))}")
    if report.layers:
        typer.echo("takes, gives: the largest values that its operations take and give")
        SafeConsole().print(_layer_table(report))
        typer.echo(report.advice)
        return
    typer.echo("stream: the residual stream after the block; only fp16-pure holds it in half")
    typer.echo("layers: the outputs of its layers that fp16 computes in half")
    typer.echo("scores: its attention scores before softmax; fp16 computes them in half too")
    typer.echo("of 65504: the largest of the three as a share of fp16's largest number")
    SafeConsole().print(_table(report))
    typer.echo(report.advice)


def _layer_table(report: RangesReport) -> Table:
    """A row for each layer that stays in fp32, and for those of the largest values."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.terminal.printable import display_name
    from hat_deploy.verify.ranges import share

    wide = report.assignment.wide if report.assignment else {}
    largest = sorted(report.layers, key=lambda layer: -layer.peak)[:LARGEST_LISTED]
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("layer")
    table.add_column("class", no_wrap=True)
    for column in ("takes", "gives", "of 65504"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("in an fp16 export")
    for layer in report.layers:
        if layer.name in wide or layer in largest:
            table.add_row(
                display_name(layer.name),
                layer.kind,
                f"{layer.taken:.4g}",
                f"{layer.given:.4g}",
                f"{100 * share(layer.peak):.3g}%",
                f"fp32: {wide[layer.name]}" if layer.name in wide else "fp16",
            )
    table.caption = (
        f"{len(report.layers)} layers; listed are those that stay in fp32 and the "
        f"{LARGEST_LISTED} of the largest values"
    )
    return table


def _table(report: RangesReport) -> Table:
    """A row for each block: its stream, its layers in half, its attention scores, and the share
    of fp16's range that the largest of them takes."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.verify.ranges import share

    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("block", no_wrap=True)
    for column in ("stream", "layers", "scores", "of 65504"):
        table.add_column(column, justify="right", no_wrap=True)
    for peak in report.peaks:
        # A block without layers in half, or without attention: a 0 would look like a measurement.
        count = 3 if peak.scores else 2 if peak.inside else 1
        values = (peak.stream, peak.inside, peak.scores)
        figures = [f"{value:.4g}" if i < count else "" for i, value in enumerate(values)]
        table.add_row(peak.block, *figures, f"{100 * share(max(values)):.3g}%")
    return table
