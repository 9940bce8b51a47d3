"""``hat-deploy verify``: an artifact's numbers against the reference, on real pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli.options import Device, format_size
from hat_deploy.errors import CheckFailed

if TYPE_CHECKING:
    from rich.table import Table

    from hat_deploy.fidelity import PictureFidelity, Report
    from hat_deploy.metrics import Difference


def command(
    engine: Annotated[Path, typer.Option(help="The artifact to verify.")],
    reference: Annotated[
        str, typer.Option(help="The checkpoint it was made from, or a model that ships.")
    ],
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PICTURES...]", help="Picture files; default: two that ship."),
    ] = None,
    random: Annotated[int, typer.Option(min=0, help="Add this many pictures of noise.")] = 0,
    min_psnr: Annotated[
        float | None,
        typer.Option(help="Least PSNR in dB; default: fp32 90, fp16 60, bf16 50."),
    ] = None,
    max_abs: Annotated[
        float | None,
        typer.Option(help="Largest difference of any value (range 0 to 1); default: by precision."),
    ] = None,
    halo: Annotated[
        int | None, typer.Option(min=0, help="Border of a tile that is dropped.")
    ] = None,
    whole: Annotated[
        bool, typer.Option(help="Also run whole pictures, where they fit into memory.")
    ] = True,
    conv_scale: Annotated[
        float | None, typer.Option(help="CAB's weight, if not the published 0.01.")
    ] = None,
    img_range: Annotated[
        float | None, typer.Option(help="The network's input range, if not the published 1.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to run both.")] = Device.CPU,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare an artifact with the PyTorch network of its checkpoint; exit with 1 if it differs."""
    from rich.console import Console

    from hat_deploy.verify import VerifyOptions, verify

    options = VerifyOptions(
        random=random,
        halo=halo,
        min_psnr=min_psnr,
        max_abs=max_abs,
        device=device.value,
        whole=whole,
        conv_scale=conv_scale,
        img_range=img_range,
    )
    with Console(stderr=True).status("") as status:
        report = verify(
            engine,
            reference,
            pictures or (),
            options,
            on_stage=lambda stage: status.update(f"comparing on {stage} ..."),
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        _print(report)
    if not report.passed:
        raise CheckFailed(f"{engine} is not verified: " + "; ".join(report.failures))


def _print(report: Report) -> None:
    from rich.console import Console

    typer.echo(f"{report.artifact['path']}: {report.engine}")
    typer.echo(f"reference: {report.reference['path']}, PyTorch fp32, halo {_halo(report)}")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    console = Console()
    for picture in report.pictures:
        console.print(_table(picture))
        if picture.whole_skipped:
            typer.echo(f"{picture.name}: not run whole: {picture.whole_skipped}")
    if report.foreign_constants == ():
        typer.echo("weights: every constant of the artifact is the checkpoint's, bit for bit")
    if report.passed:
        typer.echo(f"verified: {_limits(report)}")


def _table(picture: PictureFidelity) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from hat_deploy.sources import display_name

    size = format_size((picture.height, picture.width))
    title = Text(f"{display_name(picture.name)}, {size}", style="bold")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("compared", no_wrap=True)
    for column in ("PSNR dB", "max abs", "mean abs", "8-bit equal", "by 1", "more", "NaN/inf"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, difference in _rows(picture):
        table.add_row(name, *_figures(difference))
    return table


def _rows(picture: PictureFidelity) -> list[tuple[str, Difference]]:
    rows = [
        (f"all tiles ({len(picture.tiles)})", picture.all_tiles),
        ("worst tile", picture.worst_tile.difference),
        ("end to end", picture.precision),
    ]
    if picture.tiling is not None and picture.total is not None:
        rows += [("tiling alone", picture.tiling), ("against whole", picture.total)]
    return [*rows, ("fp32's rounding", picture.rounding)]


def _figures(found: Difference) -> list[str]:
    return [
        f"{found.psnr:.1f}",
        f"{found.max_abs:.1e}",
        f"{found.mean_abs:.1e}",
        *(
            f"{share:.3%}"
            for share in (found.share_equal, found.share_off_by_one, found.share_off_by_more)
        ),
        str(found.non_finite),
    ]


def _halo(report: Report) -> int:
    return int(report.settings["halo"])


def _limits(report: Report) -> str:
    limits = report.limits
    text = (
        f"every tile and picture has at least {limits.min_psnr:.1f} dB, "
        f"no value is off by more than {limits.max_abs:.1e}"
    )
    if limits.rounding:
        text += f" or {limits.rounding:g} times the reference's own rounding"
    return text
