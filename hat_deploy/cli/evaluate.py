"""``hat-deploy evaluate``: PSNR and SSIM on a folder of originals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hat_deploy.cli import evaluate_clip, outputs
from hat_deploy.cli.options import (
    AsJson,
    Backend,
    Compute,
    ConvScale,
    Device,
    DeviceOption,
    EngineFile,
    Exact,
    Halo,
    ImgRange,
    Model,
    Passes,
    QkScale,
    Shift,
    artifact_named,
    parse_tile,
    print_json,
    refuse_for_artifact,
    refuse_for_made,
)
from hat_deploy.errors import UsageError

if TYPE_CHECKING:
    from hat_deploy.evaluate import Evaluation, OnScored, Score

INCOMPLETE = 3
"""Exit code of a run that finished, but could not score some images."""


def command(
    context: typer.Context,
    hr: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER|CLIP",
            help="The folder of original, high-resolution images, or a clip.",
        ),
    ],
    lr: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER|CLIP",
            help="The folder of low-resolution images, or a clip. Default: the originals are "
            "shrunk by bicubic interpolation.",
        ),
    ] = None,
    model: Model = None,
    engine: EngineFile = None,
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Score images in tiles of this size, halo included, as 256 or HEIGHTxWIDTH. "
            "Default: images are computed whole, as papers do, where the memory suffices and the "
            "artifact runs at any size.",
        ),
    ] = None,
    halo: Halo = None,
    exact: Exact = False,
    passes: Passes = None,
    device: DeviceOption = Device.CPU,
    backend: Backend = None,
    compute: Compute = None,
    conv_scale: ConvScale = None,
    img_range: ImgRange = None,
    qk_scale: QkScale = None,
    shift: Shift = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the scores to this file as CSV.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write a page of images and scores to this .html file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model as papers do: PSNR and SSIM on Y, beside those of bicubic interpolation."""
    if model is not None and engine is not None:
        raise UsageError("--model and --engine cannot be used together: give one of them")
    artifact = engine if engine is not None else artifact_named(model)
    refuse_for_artifact(context, artifact, backend)
    if artifact is not None:
        refuse_for_made(context, artifact)
    from hat_deploy.artifact import zoo
    from hat_deploy.reports import page
    from hat_deploy.reports.evaluation import EvaluationPage
    from hat_deploy.terminal.printable import display_name

    if report is not None:
        page.check_path(report)
    chosen = engine or model or zoo.DEFAULT
    outputs.check({"--csv": csv, "--report": report}, [hr, lr, chosen])
    how = {
        "tile": parse_tile(tile),
        "halo": halo,
        "exact": exact,
        "passes": passes,
        "device": device.value,
        "backend": backend,
        "compute": compute,
        "conv_scale": conv_scale,
        "img_range": img_range,
        "qk_scale": qk_scale,
        "shift": shift,
    }
    whole = tile is None and halo is None
    if evaluate_clip.asked_for(hr):
        evaluate_clip.evaluate(chosen, how, hr, lr, csv, report, whole=whole, as_json=as_json)
        return
    album = EvaluationPage()
    evaluation = _evaluate(chosen, how, hr, lr, None if report is None else album.add, whole=whole)
    if report is not None:
        page.save(album.html(evaluation), report)
    if csv is not None:
        from hat_deploy.evaluate import write_csv

        write_csv(evaluation, csv)
    if as_json:
        print_json(evaluation.to_dict())
    else:
        _print(evaluation)
    for missed in evaluation.not_scored:
        typer.echo(f"not scored: {display_name(missed.path)}: {missed.reason}", err=True)
    if evaluation.not_scored:
        raise typer.Exit(INCOMPLETE)


def _evaluate(
    chosen: str | Path,
    how: dict[str, Any],
    hr: Path,
    lr: Path | None,
    on_scored: OnScored | None,
    *,
    whole: bool,
) -> Evaluation:
    """Open the model with these arguments of ``Upscaler``, and score it."""
    from hat_deploy.api import Upscaler
    from hat_deploy.evaluate import evaluate
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import status

    with status() as say:
        upscaler = Upscaler(
            chosen,
            **how,
            on_stage=lambda stage: say(f"exporting {chosen} once: {stage} ..."),
            on_warning=lambda warning: typer.echo(f"warning: {warning}", err=True),
        )
        with upscaler:
            return evaluate(
                upscaler,
                hr,
                lr,
                whole=whole,
                on_picture=lambda name: say(f"scoring {display_name(name)} ..."),
                on_scored=on_scored or (lambda scored: None),
            )


def _print(evaluation: Evaluation) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.reports.evaluation import model_line
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole

    typer.echo(f"model: {model_line(evaluation.model)}")
    typer.echo(
        f"{evaluation.engine}, x{evaluation.scale}; {evaluation.computed}; low-resolution images: "
        f"{evaluation.lr}; "
        f"Y channel, gray files read as RGB, border of {evaluation.border} pixels left out"
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("image")
    for title in ("PSNR dB", "SSIM", "bicubic PSNR", "bicubic SSIM"):
        table.add_column(title, justify="right")
    for score in evaluation.scores:
        table.add_row(display_name(score.name), *_figures(score))
    if evaluation.mean is not None:
        table.add_section()
        table.add_row(f"mean of {len(evaluation.scores)}", *_figures(evaluation.mean))
    SafeConsole().print(table)


def _figures(score: Score) -> list[str]:
    return [
        f"{score.psnr:.2f}",
        f"{score.ssim:.4f}",
        f"{score.bicubic_psnr:.2f}",
        f"{score.bicubic_ssim:.4f}",
    ]
