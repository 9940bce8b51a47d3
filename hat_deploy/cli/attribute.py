"""``hat-deploy attribute``: which pixels the detail in a box is made from, and how wide a halo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli import environment, outputs
from hat_deploy.cli.options import (
    AsJson,
    ConvScale,
    Device,
    DeviceOption,
    ImgRange,
    QkScale,
    Shift,
    print_json,
)

if TYPE_CHECKING:
    from rich.table import Table

    from hat_deploy.attribution.report import AttributionReport


def command(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="The low-resolution image to look at.")
    ],
    box: Annotated[
        str,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT", help="The part of IMAGE to explain, in its own pixels."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--reference",
            envvar=environment.MODEL,
            metavar="NAME|FILE",
            help="A checkpoint, a hub's hf:ORG/NAME, or the name of a model that ships. Default: "
            "hat-nano-x2.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The .png file to draw the map to. Default: NAME-attribution.png in the current "
            "folder.",
        ),
    ] = None,
    around: Annotated[
        int,
        typer.Option(
            min=1, metavar="PIXELS", help="How far around the box to look, in pixels of IMAGE."
        ),
    ] = 64,
    tile: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="SIDE",
            help="The side of the tiles that the advised halo is for. Default: 256, rounded up to "
            "whole windows.",
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="COUNT",
            help="The number of steps from the blurred to the sharp image; more are more exact.",
        ),
    ] = 50,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    device: DeviceOption = Device.CPU,
    as_json: AsJson = False,
) -> None:
    """Draw which pixels a result depends on (Local Attribution Map), and advise a halo."""
    from hat_deploy.artifact import zoo
    from hat_deploy.attribution import overlay
    from hat_deploy.attribution.box import Box
    from hat_deploy.attribution.report import AttributeOptions
    from hat_deploy.attribution.run import attribute
    from hat_deploy.terminal.screen import status

    target = output or Path(f"{image.stem}-attribution.png")
    overlay.check_path(target)
    outputs.check({"-o": target}, [image, model or zoo.DEFAULT])
    chosen = Box.parse(box)
    options = AttributeOptions(
        around=around,
        tile=tile,
        steps=steps,
        device=device.value,
        conv_scale=conv_scale,
        img_range=img_range,
        qk_scale=qk_scale,
        shift=shift,
    )
    with status() as say:
        report = attribute(
            model or zoo.DEFAULT,
            image,
            chosen,
            options,
            on_step=lambda step: say(f"step {step} of {steps} ..."),
        )
    overlay.save(report, target)
    if as_json:
        found = report.to_dict() | {"map": str(target)}
        print_json(found)
    else:
        _print(report, target)


def _print(report: AttributionReport, target: Path) -> None:
    from hat_deploy.geometry import image_size
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole

    box = report.box
    looked_at = image_size(len(report.rows), len(report.columns))
    typer.echo(
        f"{display_name(report.picture)}, box {box.x},{box.y},{box.width},{box.height}: diffusion "
        f"index {report.diffusion_index:.2f} over {looked_at} pixels"
    )
    typer.echo(
        f"the attributions add up to {report.completeness:.1%} of the change from blurred to "
        "sharp; more --steps bring this nearer to 100%"
    )
    SafeConsole().print(_table(report))
    typer.echo(report.advice)
    typer.echo(f"map: {display_name(target)}")


def _table(report: AttributionReport) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.attribution.spread import SIDES

    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in ("halo", "beyond it", *SIDES):
        table.add_column(column, justify="right", no_wrap=True)
    for found in report.shares:
        cells = (found.share, *(found.sides[side] for side in SIDES))
        style = "bold" if found.halo == report.advised_halo else None
        table.add_row(str(found.halo), *(f"{cell:.2%}" for cell in cells), style=style)
    return table
