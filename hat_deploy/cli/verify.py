"""``hat-deploy verify``: an artifact's numbers against the reference, on real pictures.

With ``--ranges`` it needs no artifact: it measures how large the checkpoint's own values grow.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli.options import ConvScale, Device, Halo, ImgRange
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.geometry import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hat_deploy.fidelity import PictureFidelity, Report
    from hat_deploy.metrics import Difference
    from hat_deploy.ranges_report import RangesReport
    from hat_deploy.verify import VerifyOptions


def command(
    reference: Annotated[
        str, typer.Option(help="The checkpoint it was made from, or a model that ships.")
    ],
    engine: Annotated[
        Path | None, typer.Option(help="The artifact to verify; not with --ranges.")
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PICTURES...]", help="Picture files; default: two that ship."),
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
        bool, typer.Option(help="Also run whole pictures, where they fit into memory.")
    ] = True,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    device: Annotated[Device, typer.Option(help="Where to run both.")] = Device.CPU,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare an artifact with the PyTorch network of its checkpoint; exit with 1 if it differs."""
    if ranges and engine is not None:
        raise UsageError(
            "--ranges measures the checkpoint, not an artifact: leave out --engine, or --ranges"
        )
    if not ranges and engine is None:
        raise UsageError("there is no artifact to verify: give --engine FILE, or --ranges")
    from hat_deploy.verify import VerifyOptions

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
    if engine is None:
        _measure(reference, pictures or (), options, as_json)
    else:
        _verify(engine, reference, pictures or (), options, as_json)


def _verify(
    engine: Path, reference: str, pictures: Sequence[Path], options: VerifyOptions, as_json: bool
) -> None:
    from rich.console import Console

    from hat_deploy.verify import verify

    with Console(stderr=True).status("") as status:
        report = verify(
            engine,
            reference,
            pictures,
            options,
            on_stage=lambda stage: status.update(f"comparing on {stage} ..."),
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        _print(report)
    if not report.passed:
        raise CheckFailed(f"{engine} is not verified: " + "; ".join(report.failures))


def _measure(
    reference: str, pictures: Sequence[Path], options: VerifyOptions, as_json: bool
) -> None:
    from rich.console import Console

    from hat_deploy import ranges_report
    from hat_deploy.sources import display_name

    with Console(stderr=True).status("") as status:
        report = ranges_report.report(
            reference,
            pictures,
            options,
            on_stage=lambda stage: status.update(f"measuring on {stage} ..."),
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, allow_nan=False))
        return
    typer.echo(f"{report.reference['path']}: largest absolute values, PyTorch fp32")
    typer.echo(f"pictures: {', '.join(map(display_name, report.pictures))}")
    typer.echo("stream: the residual stream that a block leaves, in half under fp16-pure alone")
    typer.echo("layers: what its layers give that fp16 computes in half")
    Console().print(_ranges_table(report))
    typer.echo(report.advice)


def _ranges_table(report: RangesReport) -> Table:
    """Of each block, the stream it leaves and its layers in half, with shares of fp16's range."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.ranges_report import share

    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("block", no_wrap=True)
    for column in ("stream", "of 65504", "layers", "of 65504"):
        table.add_column(column, justify="right", no_wrap=True)
    for peak in report.peaks:
        # An RHAG has no layers of its own in half: a 0 would look like a measurement.
        values = [peak.stream] if peak.kind == "RHAG" else [peak.stream, peak.inside]
        figures = [(f"{value:.4g}", f"{100 * share(value):.3g}%") for value in values]
        table.add_row(peak.block, *itertools.chain(*figures))
    return table


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
