"""What ``evaluate`` found, as a page: bicubic, models and original under a slider, and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hat_deploy import machine as hardware
from hat_deploy.engines.base import Array
from hat_deploy.evaluate import Evaluation, Score, Scored
from hat_deploy.geometry import image_size
from hat_deploy.reports import figures, page, pixels
from hat_deploy.reports.album import MAP_SIDE, SIDE, Album
from hat_deploy.reports.machine import machine
from hat_deploy.reports.page import Table
from hat_deploy.terminal.printable import display_name
from hat_deploy.terminal.wording import counted


class EvaluationPage:
    """Collects images while models are scored, and becomes a page with their scores."""

    def __init__(self) -> None:
        self._album = Album()

    def add(self, scored: Sequence[Scored], names: Sequence[str]) -> None:
        """Keep what is to be shown of an image; the arrays themselves are let go.

        Args:
            scored: what each model made of it.
            names: what to call the models.
        """
        called = names if len(names) > 1 else ["model"]
        pictures = dict(zip(called, scored, strict=True))
        self._album.add(display_name(scored[0].score.name), lambda: _section(pictures))

    def html(self, evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
        """The page of the run whose images were added."""
        first = evaluations[0]
        several = len(evaluations) > 1
        title = ", ".join(names)
        return page.render(
            "evaluation.html",
            title=f"evaluate: {title}",
            headline=_headline(evaluations, names),
            not_scored=_not_scored(first),
            border=first.border,
            lr=display_name(first.lr),
            computed="; ".join(dict.fromkeys(each.computed for each in evaluations)),
            models=Table("models, each a mean over the same images", *compared(evaluations, names))
            if several
            else None,
            scores=Table("PSNR dB, each image", *_side_by_side(evaluations, names))
            if several
            else Table("scores", _COLUMNS, list(_rows(first))),
            album=self._album,
            facts=_facts(evaluations, names),
        )


def model_line(model: Mapping[str, str | None]) -> str:
    """What was scored, on one line."""
    if model["file"] is None:
        return display_name(model["name"] or "")
    shown = f"{display_name(model['name'] or '')}, {display_name(model['file'])}"
    return f"{shown}, sha256 {model['sha256']}"


def compared(
    evaluations: Sequence[Evaluation], names: Sequence[str]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Models side by side, bicubic interpolation last: columns and rows of a table."""
    columns = ("model", "PSNR dB", "SSIM", "parameters", "multi-adds per LR MP", "s an image")
    rows = []
    for name, each in zip(names, evaluations, strict=True):
        mean = each.mean
        figures = (
            ["", "", ""]
            if mean is None
            else [f"{mean.psnr:.2f}", f"{mean.ssim:.4f}", f"{mean.seconds:.2f}"]
        )
        millions = "" if each.parameters is None else f"{each.parameters / 1e6:.2f} M"
        tera = "" if each.multi_adds is None else f"{each.multi_adds / 1e12:.2f} T"
        rows.append([name, *figures[:2], millions, tera, figures[2]])
    if (mean := evaluations[0].mean) is not None:
        rows.append(["bicubic", f"{mean.bicubic_psnr:.2f}", f"{mean.bicubic_ssim:.4f}", "", "", ""])
    return columns, rows


_COLUMNS = ("image", "PSNR dB", "SSIM", "bicubic PSNR", "bicubic SSIM", "gain dB", "s")


def _headline(evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
    means = {n: e.mean for n, e in zip(names, evaluations, strict=True) if e.mean is not None}
    if not means:
        return "No image could be scored"
    first = evaluations[0]
    best, mean = max(means.items(), key=lambda pair: pair[1].psnr)
    which = f"{best} is nearest to the originals: " if len(names) > 1 else ""
    return (
        f"{which}x{first.scale}: {mean.psnr:.2f} dB, SSIM {mean.ssim:.4f} over "
        f"{counted(len(first.scores), 'image')}; bicubic {mean.bicubic_psnr:.2f} dB, "
        f"{mean.bicubic_ssim:.4f}"
    )


def _not_scored(evaluation: Evaluation) -> list[str]:
    return [
        f"not scored: {display_name(missed.path)}: {missed.reason}"
        for missed in evaluation.not_scored
    ]


def _side_by_side(
    evaluations: Sequence[Evaluation], names: Sequence[str]
) -> tuple[tuple[str, ...], list[list[str]]]:
    rows = [
        [
            display_name(scores[0].name),
            *(f"{score.psnr:.2f}" for score in scores),
            f"{scores[0].bicubic_psnr:.2f}",
        ]
        for scores in zip(*(each.scores for each in evaluations), strict=True)
    ]
    return ("image", *names, "bicubic"), rows


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
        f"{score.seconds:.2f}",
    ]


def _facts(evaluations: Sequence[Evaluation], names: Sequence[str]) -> dict[str, object]:
    models: dict[str, object] = {}
    for name, each in zip(names, evaluations, strict=True):
        suffix = f" of {name}" if len(names) > 1 else ""
        models |= {
            f"model{suffix}": display_name(each.model["name"] or ""),
            f"file{suffix}": display_name(each.model["file"] or "none: an engine was handed in"),
            f"SHA-256{suffix}": each.model["sha256"] or "unknown",
            f"engine{suffix}": each.engine,
        }
    return models | machine(hardware.examine().to_dict(), hardware.versions())


def _section(scored: Mapping[str, Scored]) -> str:
    names = list(scored)
    first = scored[names[0]]
    scale, (height, width) = first.scale, first.original.shape[:2]
    results = {name: each.result for name, each in scored.items()}
    errors = {name: _error(first, each) for name, each in (results | {_PLAIN: first.plain}).items()}
    shown = pixels.window(errors[names[0]], SIDE, scale)
    pictures = {_PLAIN: first.plain} | results | {"original": first.original}
    cut = {name: shown.cut(pixels.as_rgb(picture), scale) for name, picture in pictures.items()}
    full = max(pixels.full_scale(found) for found in errors.values())
    left, right = (names[0], names[1]) if len(names) > 1 else (_PLAIN, names[0])
    return page.render(
        "evaluation_image.html",
        title=f"{display_name(first.score.name)}, {image_size(height, width)}",
        slider=figures.slider(cut, _caption(scored, shown), left=left, right=right),
        errors={
            "the model" if name == "model" else name: figures.error_map(
                pixels.heat_map(found, MAP_SIDE, full),
                f"{name} against original; all maps of this image have the same colours",
            )
            for name, found in errors.items()
        },
    )


_PLAIN = "bicubic"


def _error(scored: Scored, candidate: Array) -> Array:
    """(H, W) in [0, 1]: the largest difference of a channel."""
    reference, other = (
        pixels.as_rgb(picture).transpose(2, 0, 1) / 255.0
        for picture in (scored.original, candidate)
    )
    return pixels.error(reference, other)


def _caption(scored: Mapping[str, Scored], shown: pixels.Window) -> str:
    first = next(iter(scored.values()))
    told = [f"{name} {each.score.psnr:.2f} dB" for name, each in scored.items()]
    figures_ = f"{', '.join(told)}, bicubic {first.score.bicubic_psnr:.2f} dB."
    rows, columns = shown.rows, shown.columns
    scale = first.scale
    if (len(rows) * scale, len(columns) * scale) == first.original.shape[:2]:
        return f"{figures_} Drag, or focus it and press the arrow keys."
    judged = "the model" if len(scored) == 1 else next(iter(scored))
    return (
        f"{figures_} Rows {rows.start * scale} to {rows.stop * scale - 1} and columns "
        f"{columns.start * scale} to {columns.stop * scale - 1}: a part of at most {SIDE} pixels a "
        f"side around the largest error of {judged}. "
        "Drag, or focus it and press the arrow keys."
    )
