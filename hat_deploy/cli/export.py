"""``hat-deploy export``: a checkpoint becomes an artifact, with a proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.cli.options import format_size, parse_tile
from hat_deploy.errors import UsageError

if TYPE_CHECKING:
    from hat_deploy.export import ExportReport


def command(
    checkpoint: Annotated[
        str, typer.Argument(help="A .pth or .safetensors file, or a model that ships.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .onnx file to write.")],
    tile: Annotated[
        str, typer.Option(help="Input size, halo included: 256 or HEIGHTxWIDTH.")
    ] = "256",
    batch: Annotated[int, typer.Option(min=1, help="Tiles in one call.")] = 1,
    halo: Annotated[
        int | None, typer.Option(min=0, help="Default halo the artifact carries.")
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX operator set.")] = 20,
    prove: Annotated[
        str,
        typer.Option(
            help="'full' compares with PyTorch at the export's own size however long it takes; "
            "'auto' does so where it is cheap and at 64x64 otherwise."
        ),
    ] = "auto",
    conv_scale: Annotated[
        float | None, typer.Option(help="CAB's weight, if not the published 0.01.")
    ] = None,
    img_range: Annotated[
        float | None, typer.Option(help="The network's input range, if not the published 1.")
    ] = None,
) -> None:
    """Export a HAT checkpoint to ONNX and prove that it computes the same."""
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"{output}: the suffix decides what is made; use .onnx")
    if prove not in ("auto", "full"):
        raise UsageError(f"--prove {prove}: use auto or full")
    from rich.console import Console

    from hat_deploy import zoo
    from hat_deploy.artifact import sha256
    from hat_deploy.export import ExportOptions, export_onnx
    from hat_deploy.hat.checkpoint import load_network

    size = parse_tile(tile)
    assert size is not None
    options = ExportOptions(tile=size, batch=batch, halo=halo, opset=opset)
    path, name = Path(checkpoint), Path(checkpoint).stem
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        shipped = zoo.find(checkpoint)
        path, name = shipped.checkpoint, shipped.name
    network = load_network(path, conv_scale=conv_scale, img_range=img_range)
    with Console(stderr=True).status("") as status:
        report = export_onnx(
            network,
            output,
            options,
            model=name,
            checkpoint_sha256=sha256(path),
            prove_full=prove == "full",
            on_stage=lambda stage: status.update(f"{stage} ..."),
        )
    _print(report, network.config.variant)


def _print(report: ExportReport, variant: str) -> None:
    description, proof = report.description, report.proof
    where = "this file" if report.proved_at_full_size else "the same builder's file"
    typer.echo(
        f"{report.path}: {description.model} ({variant} x{description.scale}), "
        f"tile {format_size(description.tile)}, batch {description.batch}, "
        f"{report.bytes / 1e6:.1f} MB, {report.seconds:.0f} s"
    )
    typer.echo(
        f"proof: ONNX Runtime against PyTorch fp32 on {where} at "
        f"{format_size(report.proof_tile)}: max difference {proof.max_abs:.1e}, "
        f"PSNR {proof.psnr:.1f} dB, 8-bit values equal {proof.share_equal:.4%}"
    )
