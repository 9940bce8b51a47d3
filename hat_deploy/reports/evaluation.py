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
from hat_deploy.terminal.printable import display_name


class EvaluationPage:
    """Collects pictures while ``evaluate`` runs, and becomes a page with its scores."""

    def __init__(self) -> None:
        self._album = Album()

    def add(self, scored: Scored) -> None:
        """Keep what is to be shown of a picture; the arrays themselves are let go."""
        self._album.add(display_name(scored.score.name), lambda: "\n".join(_section(scored)))

    def html(self, evaluation: Evaluation) -> str:
        """The page of the run whose pictures were added."""
        name = display_name(evaluation.model["name"] or "")
        return page.page(f"evaluate: {name}", self._body(evaluation))

    def _body(self, evaluation: Evaluation) -> Iterator[str]:
        yield page.verdict(None, _headline(evaluation), _not_scored(evaluation))
        yield page.paragraph(
            "PSNR and SSIM on the Y channel, gray files read as RGB, "
            f"{evaluation.border} pixels left out along each edge; "
            f"low-resolution images: {display_name(evaluation.lr)}."
        )
        yield page.table("scores", _COLUMNS, _rows(evaluation))
        yield page.paragraph(self._album.note, "note") if self._album.left_out else ""
        yield from self._album
        yield page.heading("On what")
        found = machine(hardware.examine().to_dict(), hardware.versions())
        model = {
            "model": display_name(evaluation.model["name"] or ""),
            "its file": display_name(evaluation.model["file"] or "none: an engine was handed in"),
            "its SHA-256": evaluation.model["sha256"] or "unknown",
        }
        yield page.facts(model | {"engine": evaluation.engine} | found)


def model_line(model: Mapping[str, str | None]) -> str:
    """What was scored, on one line."""
    if model["file"] is None:
        return display_name(model["name"] or "")
    shown = f"{display_name(model['name'] or '')}, {display_name(model['file'])}"
    return f"{shown}, sha256 {model['sha256']}"


_COLUMNS = ("picture", "PSNR dB", "SSIM", "bicubic PSNR", "bicubic SSIM", "gain dB")


def _headline(evaluation: Evaluation) -> str:
    mean = evaluation.mean
    if mean is None:
        return "No picture could be scored"
    return (
        f"x{evaluation.scale}: {mean.psnr:.2f} dB, SSIM {mean.ssim:.4f} over "
        f"{_counted(len(evaluation.scores), 'picture')}; bicubic {mean.bicubic_psnr:.2f} dB, "
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


def _section(scored: Scored) -> Iterator[str]:
    score, scale = scored.score, scored.scale
    height, width = scored.original.shape[:2]
    yield page.heading(f"{display_name(score.name)}, {image_size(height, width)}")
    errors = {"model": _error(scored, scored.result), "bicubic": _error(scored, scored.plain)}
    shown = pixels.window(errors["model"], SIDE, scale)
    pictures = {
        "bicubic": scored.plain,
        "model": scored.result,
        "original": scored.original,
    }
    cut = {name: shown.cut(pixels.as_rgb(picture), scale) for name, picture in pictures.items()}
    yield figures.compare(cut, _caption(scored, shown), left="bicubic", right="model")
    full = max(pixels.full_scale(found) for found in errors.values())
    for name, found in errors.items():
        yield page.heading(f"Error of {'the model' if name == 'model' else name}", 3)
        yield figures.heat(
            pixels.heat_map(found, MAP_SIDE, full),
            f"{name} against original; both maps have the same colours",
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
