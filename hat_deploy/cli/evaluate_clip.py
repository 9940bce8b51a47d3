"""``hat-deploy evaluate --hr clip.mp4``: PSNR and SSIM a frame, and how much frames change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hat_deploy.cli.options import print_json
from hat_deploy.errors import UsageError, about, require
from hat_deploy.terminal.printable import display_name
from hat_deploy.video.names import is_clip

if TYPE_CHECKING:
    from hat_deploy.video.scores import ClipScores, FrameScore

INCOMPLETE = 3
"""Exit code where a clip was damaged."""


def asked_for(hr: Path) -> bool:
    """Whether the originals are the frames of a clip."""
    return is_clip(hr) and not hr.is_dir()


def evaluate(
    chosen: str | Path,
    how: dict[str, Any],
    hr: Path,
    lr: Path | None,
    csv: Path | None,
    report: Path | None,
    *,
    whole: bool,
    as_json: bool,
) -> None:
    """Score a model on a clip and print what was found.

    Args:
        how: arguments of ``Upscaler``.

    Raises:
        UsageError: ``lr`` is no clip.
        PictureError: a clip cannot be read or scored.
        typer.Exit: with 3, where a clip is damaged.
    """
    if lr is not None and not asked_for(lr):
        raise UsageError(f"--lr {display_name(lr)}: with a clip as --hr, expected a clip too")
    require("av", purpose="Scoring a clip")
    from hat_deploy.api import Upscaler
    from hat_deploy.evaluate import labels
    from hat_deploy.reports import page
    from hat_deploy.reports.evaluation import EvaluationPage
    from hat_deploy.terminal.screen import status
    from hat_deploy.video.scores import as_evaluation, score_clip, write_csv

    album = EvaluationPage()
    with status() as say:
        upscaler = Upscaler(
            chosen,
            **how,
            on_stage=lambda stage: say(f"exporting {chosen} once: {stage} ..."),
            on_warning=lambda warning: typer.echo(f"warning: {warning}", err=True),
        )
        names = labels([upscaler.model])
        with upscaler, about(hr):
            scores = score_clip(
                upscaler,
                hr,
                lr,
                whole=whole,
                on_frame=lambda number: say(f"scoring frame {number} of {display_name(hr)} ..."),
                on_scored=lambda scored: None if report is None else album.add([scored], names),
            )
            if report is not None:
                page.save(album.html([as_evaluation(scores, hr, lr, upscaler)], names), report)
    if csv is not None:
        write_csv(scores, csv)
    if as_json:
        print_json(scores.to_dict())
    else:
        _print(scores, hr, lr)
    for damage in scores.damages:
        typer.echo(f"damaged: {display_name(hr)}: {display_name(damage)}", err=True)
    if scores.damages:
        raise typer.Exit(INCOMPLETE)


def _print(scores: ClipScores, hr: Path, lr: Path | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hat_deploy.terminal.screen import SafeConsole

    made = "antialiased bicubic" if lr is None else display_name(lr)
    typer.echo(
        f"{scores.engine}, x{scores.scale}; {display_name(hr)}; low-resolution frames: {made}; "
        f"Y channel, border of {scores.scale} pixels left out"
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("frame")
    titles = ("PSNR dB", "SSIM", "bicubic PSNR", "bicubic SSIM", "change", "original's")
    for title in titles:
        table.add_column(title, justify="right")
    for frame in scores.frames:
        table.add_row(str(frame.frame), *_figures(frame))
    table.add_section()
    table.add_row(f"mean of {len(scores.frames)}", *_figures(scores.mean))
    SafeConsole().print(table)


def _figures(score: FrameScore) -> list[str]:
    quality = (score.psnr, score.ssim, score.bicubic_psnr, score.bicubic_ssim)
    digits = (2, 4, 2, 4)
    shown = [f"{value:.{places}f}" for value, places in zip(quality, digits, strict=True)]
    return [*shown, f"{score.change:.3f}", f"{score.original_change:.3f}"]
