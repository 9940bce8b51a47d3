"""``hat-deploy evaluate``: PSNR and SSIM on a folder of originals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
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
    Exact,
    Halo,
    ImgRange,
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
    from hat_deploy.evaluate import Evaluation, Score, Scored
    from hat_deploy.reports.evaluation import EvaluationPage

INCOMPLETE = 3
"""Exit code of a run that finished, but could not score some images."""

Models = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE",
        help="The model to score: a name that 'hat-deploy models' lists, or a checkpoint, which is "
        "exported once into the cache. Given several times, with --engine too, the models are "
        "scored on the same images side by side.",
    ),
]
Engines = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="The artifact to score: an .onnx or .plan that 'hat-deploy export' made. It can be "
        "given several times.",
    ),
]


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
    model: Models = None,
    engine: Engines = None,
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
    """Score models as papers do: PSNR and SSIM on Y, beside those of bicubic interpolation."""
    for artifact in (*map(artifact_named, model or ()), *(engine or ())):
        refuse_for_artifact(context, artifact, backend)
        if artifact is not None:
            refuse_for_made(context, artifact)
    from hat_deploy.artifact import zoo
    from hat_deploy.evaluate import labels, write_csv
    from hat_deploy.reports import page
    from hat_deploy.reports.evaluation import EvaluationPage
    from hat_deploy.terminal.printable import display_name

    if report is not None:
        page.check_path(report)
    chosen = [*(model or ()), *(engine or ())] or [zoo.DEFAULT]
    outputs.check({"--csv": csv, "--report": report}, [hr, lr, *chosen])
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
        if len(chosen) > 1:
            raise UsageError("a clip is scored with one model: give one --model or one --engine")
        one = chosen[0]
        evaluate_clip.evaluate(one, how, hr, lr, csv, report, whole=whole, as_json=as_json)
        return
    album = EvaluationPage()
    evaluations = _evaluate(chosen, how, hr, lr, None if report is None else album, whole=whole)
    names = labels([evaluation.model for evaluation in evaluations])
    first = evaluations[0]
    if report is not None:
        page.save(album.html(evaluations, names), report)
    if csv is not None:
        write_csv(evaluations, csv)
    if len(evaluations) == 1:
        print_json(first.to_dict()) if as_json else _print(first)
    else:
        told = [evaluation.to_dict() for evaluation in evaluations]
        print_json({"models": told}) if as_json else _print_all(evaluations, names)
    for missed in first.not_scored:
        typer.echo(f"not scored: {display_name(missed.path)}: {missed.reason}", err=True)
    if first.not_scored:
        raise typer.Exit(INCOMPLETE)


def _evaluate(
    chosen: Sequence[str | Path],
    how: dict[str, Any],
    hr: Path,
    lr: Path | None,
    album: EvaluationPage | None,
    *,
    whole: bool,
) -> tuple[Evaluation, ...]:
    """Open the models with these arguments of ``Upscaler``, and score them."""
    from hat_deploy.api import Upscaler
    from hat_deploy.evaluate import evaluate_all, labels
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import status

    with status() as say, ExitStack() as opened:

        def open_(model: str | Path) -> Upscaler:
            upscaler = Upscaler(
                model,
                **how,
                on_stage=lambda stage: say(f"exporting {model} once: {stage} ..."),
                on_warning=lambda warning: typer.echo(f"warning: {warning}", err=True),
            )
            return opened.enter_context(upscaler)

        upscalers = [open_(model) for model in chosen]
        names = labels([upscaler.model for upscaler in upscalers])

        def show(scored: Sequence[Scored]) -> None:
            if album is not None:
                album.add(scored, names)

        return evaluate_all(
            upscalers,
            hr,
            lr,
            whole=whole,
            on_picture=lambda name: say(f"scoring {display_name(name)} ..."),
            on_scored=show,
        )


def _print_all(evaluations: Sequence[Evaluation], names: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.reports.evaluation import compared, model_line
    from hat_deploy.terminal.printable import display_name
    from hat_deploy.terminal.screen import SafeConsole

    for name, evaluation in zip(names, evaluations, strict=True):
        typer.echo(f"{name}: {model_line(evaluation.model)}; {evaluation.engine}")
        typer.echo(f"{name}: {evaluation.computed}")
    first = evaluations[0]
    typer.echo(
        f"x{first.scale}, means over the same {len(first.scores)} images; low-resolution images: "
        f"{display_name(first.lr)}; Y channel, gray files read as RGB, border of {first.border} "
        "pixels left out"
    )
    columns, rows = compared(evaluations, names)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    SafeConsole().print(table)


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
    for title in ("PSNR dB", "SSIM", "bicubic PSNR", "bicubic SSIM", "s"):
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
        f"{score.seconds:.2f}",
    ]
