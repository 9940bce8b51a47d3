"""``hat-deploy export``: a checkpoint becomes an artifact, with a proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli import outputs
from hat_deploy.cli.options import (
    AsJson,
    ConvScale,
    ImgRange,
    QkScale,
    Shift,
    artifact_named,
    parse_tile,
    print_json,
    refuse,
)
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.geometry import tile_size
from hat_deploy.networks.unstored import UNSTORED, Unstored
from hat_deploy.precision import Precision
from hat_deploy.terminal.printable import display_name

if TYPE_CHECKING:
    from hat_deploy.engines.base import Array
    from hat_deploy.export.to_onnx import ExportOptions, ExportReport
    from hat_deploy.export.to_plan import BuildOptions, BuildReport


ABOUT_PLANS = ("gpu", "flavour")
ABOUT_GRAPHS = (
    "tile",
    "any_size",
    "batch",
    "halo",
    "precision",
    "io",
    "exact",
    "opset",
    "made_for",
    "prove",
    "min_psnr",
    *UNSTORED,
)
"""Options that say how a checkpoint becomes a graph, which an .onnx is already."""
LISTED = 5
"""Layers in fp32 that are named; the file's description has all."""
GRAPH_ON_THE_WAY = "the ONNX graph made on the way"


def command(
    context: typer.Context,
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A .pth or .safetensors file, a hub's hf:ORG/NAME, or the name of a model that "
            "ships. A .plan can also be made from an .onnx that 'export' wrote.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The .onnx or .plan file to write."),
    ],
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="The size of a tile, its halo included, as 256 or HEIGHTxWIDTH. Default: 256, "
            "rounded up to a multiple of the network's window.",
        ),
    ] = None,
    any_size: Annotated[
        bool,
        typer.Option(
            "--any-size",
            help="For an .onnx: leave height and width open, so that an image smaller than the "
            "tile is not padded up to it, and the tile is chosen when it is run.",
        ),
    ] = False,
    batch: Annotated[
        int,
        typer.Option(
            min=1, metavar="COUNT", help="The number of tiles in one call of the artifact."
        ),
    ] = 1,
    halo: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="PIXELS",
            help="The border of each tile that is computed and then dropped, in pixels; the "
            "artifact carries it as its default. Default: one window, or less for small tiles.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The precision of the artifact: fp32, fp16, bf16, or fp16-pure, which computes "
            "everything in half precision. Default: fp32 for an .onnx, fp16 for a .plan.",
        ),
    ] = None,
    io: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What the artifact takes and returns: float (NCHW, values from 0 to 1) or uint8 "
            "(NHWC bytes).",
        ),
    ] = "float",
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Make an artifact whose tiles can equal the whole image: it also takes the "
            "averages of channel attention as an input and gives its own.",
        ),
    ] = False,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="For a .plan: the GPUs to build for, as sm89 or sm89,sm120."
        ),
    ] = None,
    flavour: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For a .plan: the library to build with, tensorrt or rtx (TensorRT for RTX).",
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(metavar="VERSION", help="The ONNX operator set. Default: 20, or 22 for bf16."),
    ] = None,
    made_for: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="NAME",
            help="What the graph is spelled for: any engine, or tensorrt, whose kernels then fuse "
            "more and move less; it computes the same everywhere. Default: tensorrt for a .plan, "
            "any for an .onnx.",
        ),
    ] = None,
    prove: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="The size of the comparison with PyTorch: full takes the artifact's own tile, "
            "however long it takes; auto does so where that is quick, and takes 64x64 elsewhere.",
        ),
    ] = "auto",
    min_psnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="The PSNR in dB that the comparison with PyTorch must reach. Default: by "
            "precision; fp32 90, fp16 60, bf16 50.",
        ),
    ] = None,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    as_json: AsJson = False,
) -> None:
    """Export a checkpoint to ONNX or TensorRT, and prove that it computes the same."""
    suffix = output.suffix.lower()
    if suffix not in (".onnx", ".plan"):
        raise UsageError(f"{output}: the suffix decides what is made; use .onnx or .plan")
    if prove not in ("auto", "full"):
        raise UsageError(f"--prove {prove}: use auto or full")
    if suffix == ".onnx":
        refuse(context, ABOUT_PLANS, "it is for a .plan; an .onnx runs on any GPU")
    else:
        refuse(context, ["any_size"], "a plan has one size; it is for an .onnx")
    ready = artifact_named(checkpoint)
    if ready is not None:
        _require_onnx_to_plan(ready, output)
        refuse(
            context,
            ABOUT_GRAPHS,
            f"{ready} was exported with its own values; export its checkpoint again to change them",
        )
    outputs.check({"-o": output}, [checkpoint])
    target = _build_options(gpu, flavour) if suffix == ".plan" else None
    if target and ready is not None:
        built = _build(ready, output, target)
        print_json(built.to_dict()) if as_json else _print_plan(built, source=ready)
        return
    from hat_deploy.export.to_onnx import ExportOptions

    options = ExportOptions(
        tile=parse_tile(tile),
        any_size=any_size,
        batch=batch,
        halo=halo,
        precision=precision or (Precision.FP16 if target else Precision.FP32),
        io=io,
        exact=exact,
        opset=opset,
        made_for=made_for or ("tensorrt" if target else "any"),
        min_psnr=min_psnr,
    )
    unstored = Unstored(conv_scale=conv_scale, img_range=img_range, qk_scale=qk_scale, shift=shift)
    if target is None:
        report, variant = _export(checkpoint, output, options, unstored, full=prove == "full")
        print_json(report.to_dict()) if as_json else _print(report, variant)
        return
    report, built = _export_and_build(
        checkpoint, output, options, unstored, target, full=prove == "full"
    )
    if as_json:
        print_json(built.to_dict() | {"graph": report.to_dict()})
    else:
        _print_proof(report, GRAPH_ON_THE_WAY)
        _print_plan(built, source=None)


def _export_and_build(
    checkpoint: str,
    output: Path,
    options: ExportOptions,
    unstored: Unstored,
    target: BuildOptions,
    *,
    full: bool,
) -> tuple[ExportReport, BuildReport]:
    """Make a plan from a checkpoint; the .onnx in between is not kept."""
    with TemporaryDirectory() as folder:
        onnx = Path(folder) / "hat.onnx"
        report, _ = _export(checkpoint, onnx, options, unstored, full=full, kept=output)
        try:
            built = _build(onnx, output, target, report.expected)
        except ArtifactError as error:
            # The file is gone when its name is read.
            raise ArtifactError(str(error).replace(str(onnx), GRAPH_ON_THE_WAY)) from error
    return report, built


def _require_onnx_to_plan(source: Path, output: Path) -> None:
    """An artifact can become one thing only."""
    if source.suffix.lower() != ".onnx":
        raise UsageError(
            f"{source} is a plan, which cannot become anything else: give the checkpoint, or the "
            ".onnx, that it was made from"
        )
    if output.suffix.lower() != ".plan":
        raise UsageError(
            f"{source} is an .onnx already: give its checkpoint to export it again, or build a "
            "plan from it with -o NAME.plan"
        )


def _build_options(gpu: str | None, flavour: str | None) -> BuildOptions:
    """What to build for, refused before anything is exported if it cannot be built here."""
    from hat_deploy.export.to_plan import BuildOptions, choose

    gpus = tuple(part.strip().lower() for part in gpu.split(",")) if gpu else ()
    options = BuildOptions(gpus=gpus, flavour=flavour)
    choose(options)
    return options


def _export(
    checkpoint: str,
    target: Path,
    options: ExportOptions,
    unstored: Unstored,
    *,
    full: bool,
    kept: Path | None = None,
) -> tuple[ExportReport, str]:
    """The export and the network's variant; ``kept`` is what is made of it, if not itself."""
    from hat_deploy.artifact.resolve import checkpoint_named
    from hat_deploy.export.to_onnx import export_onnx
    from hat_deploy.networks.checkpoint import load_network

    named = checkpoint_named(checkpoint)
    network = load_network(named.path, **unstored.given)
    weights = sum(parameter.numel() for parameter in network.parameters())
    outputs.require_room(
        "-o", kept or target, weights * (4 if options.precision == Precision.FP32 else 2)
    )
    with _progress() as on_stage:
        report = export_onnx(
            network,
            target,
            options,
            model=named.name,
            checkpoint_sha256=named.sha256,
            origin=named.origin,
            prove_full=full,
            on_stage=on_stage,
        )
    return report, network.config.variant


def _build(
    source: Path, target: Path, options: BuildOptions, expected: Array | None = None
) -> BuildReport:
    from hat_deploy.export.to_plan import build

    with _progress() as on_stage:
        return build(source, target, options, expected=expected, on_stage=on_stage)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr: what is being done, and for how long."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from hat_deploy.terminal.screen import SafeConsole

    text = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), TimeElapsedColumn(), text)
    console = SafeConsole(stderr=True)
    still = not console.is_terminal  # nobody looks, and the bar would leave an empty line
    with Progress(*columns, console=console, transient=True, disable=still) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda stage: progress.update(task, description=stage)


def _print(report: ExportReport, variant: str) -> None:
    description = report.description
    typer.echo(
        f"{display_name(report.path.name)}: {display_name(description.model)} "
        f"({variant} x{description.scale}), {description.precision}, {description.io}, "
        f"tile {tile_size(description.tile)}, batch {description.batch}, "
        f"{'exact, ' if description.averages else ''}"
        f"{report.bytes / 1e6:.1f} MB, {report.seconds:.0f} s"
    )
    _print_proof(report, "this file")


def _print_proof(report: ExportReport, what: str) -> None:
    description, proof = report.description, report.proof
    where = what if report.proved_at_full_size else f"a smaller export made like {what}"
    typer.echo(
        f"proof: ONNX Runtime against PyTorch fp32 on {where} at "
        f"{tile_size(report.proof_tile)}: max difference {proof.max_abs:.1e}, "
        f"PSNR {proof.psnr:.1f} dB, 8-bit values equal {proof.share_equal:.4%}"
    )
    if description.mixed:
        typer.echo(f"in half: {description.mixed}")
        for name, reason in list(report.wide.items())[:LISTED]:
            typer.echo(f"  fp32: {display_name(name)}: {reason}")
        if len(report.wide) > LISTED:
            typer.echo(f"  and {len(report.wide) - LISTED} more; --json of 'info' lists them all")
    if report.arithmetic is not None:
        typer.echo(
            f"proof: PyTorch {description.precision} against fp32: all finite, "
            f"PSNR {report.arithmetic.psnr:.1f} dB"
        )
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if description.precision == Precision.BF16:
        typer.echo("(ONNX Runtime has no bf16 on a CPU: the graph was run with float32 instead)")
    elif description.precision != Precision.FP32:
        typer.echo(
            f"(ONNX Runtime computes wider than {description.precision} on a CPU: its figure is "
            "that of the graph, not of the arithmetic)"
        )


def _print_plan(report: BuildReport, source: Path | None) -> None:
    """What was built; ``source`` is the .onnx that the user has, or None."""
    from hat_deploy.artifact.launches import lines as launch_lines

    description = report.description
    typer.echo(
        f"{display_name(report.path)}: {display_name(description.model)} x{description.scale}, "
        f"{description.precision}, {description.io}, tile {tile_size(description.tile)}, "
        f"batch {description.batch}, for {', '.join(description.targets)}, "
        f"{report.bytes / 1e6:.1f} MB, {report.seconds:.0f} s"
    )
    for line in launch_lines(report.programs):
        typer.echo(line)
    if report.proof is not None:
        typer.echo(
            f"proof: the plan itself in {report.proved_by} against PyTorch fp32: max difference "
            f"{report.proof.max_abs:.1e}, PSNR {report.proof.psnr:.1f} dB"
        )
    elif source is not None:
        typer.echo(f"built, not run: what was proved is {display_name(source)}, when it was made")
    else:
        typer.echo(f"built, not run: what was proved is {GRAPH_ON_THE_WAY}, which is not kept")
