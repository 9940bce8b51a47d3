"""What ``evaluate`` found, as a page: bicubic, model and original under a slider, and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hat_deploy import machine as hardware
from hat_deploy.engines.base import Array
from hat_deploy.evaluate import Evaluation, Score, Scored
from hat_deploy.geometry import image_size
from hat_deploy.reports import figures, page, pixels
from hat_deploy.reports.album import MAP_SIDE, SIDE, Album
from hat_deploy.reports.machine import machine
from hat_deploy.reports.page import Table
from hat_deploy.terminal.printable import display_name


class EvaluationPage:
    """Collects images while ``evaluate`` runs, and becomes a page with its scores."""

    def __init__(self) -> None:
        self._album = Album()

    def add(self, scored: Scored) -> None:
        """Keep what is to be shown of an image; the arrays themselves are let go."""
        self._album.add(display_name(scored.score.name), lambda: _section(scored))

    def html(self, evaluation: Evaluation) -> str:
        """The page of the run whose images were added."""
        return page.render(
            "evaluation.html",
            title=f"evaluate: {display_name(evaluation.model['name'] or '')}",
            headline=_headline(evaluation),
            not_scored=_not_scored(evaluation),
            border=evaluation.border,
            lr=display_name(evaluation.lr),
            computed=evaluation.computed,
            scores=Table("scores", _COLUMNS, list(_rows(evaluation))),
            album=self._album,
            facts=_facts(evaluation),
        )


def model_line(model: Mapping[str, str | None]) -> str:
    """What was scored, on one line."""
    if model["file"] is None:
        return display_name(model["name"] or "")
    shown = f"{display_name(model['name'] or '')}, {display_name(model['file'])}"
    return f"{shown}, sha256 {model['sha256']}"


_COLUMNS = ("image", "PSNR dB", "SSIM", "bicubic PSNR", "bicubic SSIM", "gain dB")


def _headline(evaluation: Evaluation) -> str:
    mean = evaluation.mean
    if mean is None:
        return "No image could be scored"
    return (
        f"x{evaluation.scale}: {mean.psnr:.2f} dB, SSIM {mean.ssim:.4f} over "
        f"{_counted(len(evaluation.scores), 'image')}; bicubic {mean.bicubic_psnr:.2f} dB, "
        f"{mean.bicubic_ssim:.4f}"
    )


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _not_scored(evaluation: Evaluation) -> list[str]:
    return [
        f"not scored: {display_name(missed.path)}: {missed.reason}"
        for missed in evaluation.not_scored
    ]


def _rows(evaluation: Evaluation) -> Iterator[list[str]]:
    for score in evaluation.scores:
        yield [display_name(score.name), *_cells(score)]
    if evaluation.mean is not None:
        yield [f"mean of {len(evaluation.scores)}", *_cells(evaluation.mean)]


def _cells(score: Score) -> list[str]:
    return [
        f"{score.psnr:.2f}",
        f"{score.ssim:.4f}",
        f"{score.bicubic_psnr:.2f}",
        f"{score.bicubic_ssim:.4f}",
        f"{score.psnr - score.bicubic_psnr:+.2f}",
    ]


def _facts(evaluation: Evaluation) -> dict[str, object]:
    model = {
        "model": display_name(evaluation.model["name"] or ""),
        "its file": display_name(evaluation.model["file"] or "none: an engine was handed in"),
        "its SHA-256": evaluation.model["sha256"] or "unknown",
        "engine": evaluation.engine,
    }
    return model | machine(hardware.examine().to_dict(), hardware.versions())


def _section(scored: Scored) -> str:
    scale, (height, width) = scored.scale, scored.original.shape[:2]
    errors = {"model": _error(scored, scored.result), "bicubic": _error(scored, scored.plain)}
    shown = pixels.window(errors["model"], SIDE, scale)
    pictures = {
        "bicubic": scored.plain,
        "model": scored.result,
        "original": scored.original,
    }
    cut = {name: shown.cut(pixels.as_rgb(picture), scale) for name, picture in pictures.items()}
    full = max(pixels.full_scale(found) for found in errors.values())
    return page.render(
        "evaluation_image.html",
        title=f"{display_name(scored.score.name)}, {image_size(height, width)}",
        slider=figures.slider(cut, _caption(scored, shown), left="bicubic", right="model"),
        errors={
            name: figures.error_map(
                pixels.heat_map(found, MAP_SIDE, full),
                f"{name} against original; both maps have the same colours",
            )
            for name, found in errors.items()
        },
    )


def _error(scored: Scored, candidate: Array) -> Array:
    """(H, W) in [0, 1]: the largest difference of a channel."""
    reference, other = (
        pixels.as_rgb(picture).transpose(2, 0, 1) / 255.0
        for picture in (scored.original, candidate)
    )
    return pixels.error(reference, other)


def _caption(scored: Scored, shown: pixels.Window) -> str:
    score = scored.score
    figures_ = f"model {score.psnr:.2f} dB, bicubic {score.bicubic_psnr:.2f} dB."
    rows, columns = shown.rows, shown.columns
    scale = scored.scale
    if (len(rows) * scale, len(columns) * scale) == scored.original.shape[:2]:
        return f"{figures_} Drag, or focus it and press the arrow keys."
    return (
        f"{figures_} Rows {rows.start * scale} to {rows.stop * scale - 1} and columns "
        f"{columns.start * scale} to {columns.stop * scale - 1}: a part of at most {SIDE} pixels a "
        "side around the model's largest error. Drag, or focus it and press the arrow keys."
    )
