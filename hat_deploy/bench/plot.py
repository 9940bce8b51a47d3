"""Latency distributions as an SVG chart, readable on light and dark backgrounds.

It is drawn from what ``Report.to_dict`` gives, so that a file of results can be drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hat_deploy import files
from hat_deploy.errors import UsageError
from hat_deploy.reports.svg import SERIES, Canvas, Linear, stacked

if TYPE_CHECKING:
    from hat_deploy.bench.report import Report

_WIDTH = 900
_LEFT, _RIGHT, _TOP, _BOTTOM = 170, 90, 44, 40
_ROW = 46

Json = Mapping[str, Any]


def check_path(path: Path) -> None:
    """Refuse another suffix, before anything is measured.

    Raises:
        UsageError: it is not ``.svg``.
    """
    if path.suffix.lower() != ".svg":
        raise UsageError(f"--plot {path}: a plot is an SVG file, give a name that ends in .svg")


def save(report: Report, path: Path) -> None:
    """Write a panel for each scope.

    Raises:
        UsageError: another suffix, or the file cannot be written.
    """
    check_path(path)
    panels = [panel(measured, measured["scope"]) for measured in report.to_dict()["scopes"]]
    files.write(path, stacked(panels, "latency").svg().encode(), "plot")


def panel(measured: Json, title: str) -> Canvas:
    """Every call of every contender: dots, a box from quartile to quartile, the median in figures.

    Args:
        measured: one of a report's ``scopes``.
        title: what was measured.
    """
    results = measured["results"]
    bottom = _TOP + _ROW * len(results)
    canvas = Canvas(_WIDTH, bottom + _BOTTOM, title)
    longest = max(max(result["seconds"]["values"]) for result in results)
    axis = Linear(high=1.05e3 * longest, start=_LEFT, stop=_WIDTH - _RIGHT)
    count = results[0]["seconds"]["count"]
    canvas.rectangle(0, 0, canvas.width, canvas.height, "chart-card")
    canvas.text(12, 26, f"{title}: milliseconds, {count} calls each", "chart-ink title")
    for value in axis.ticks():
        canvas.line(axis.at(value), _TOP, axis.at(value), bottom, "chart-grid")
        canvas.text(axis.at(value), bottom + 20, f"{value:g}", "chart-faint", "middle")
    for number, result in enumerate(results):
        _distribution(canvas, axis, result, _TOP + _ROW * number, f"s{number % SERIES}")
    return canvas


def _distribution(canvas: Canvas, axis: Linear, result: Json, top: int, kind: str) -> None:
    seconds, middle = result["seconds"], top + _ROW / 2
    canvas.text(_LEFT - 12, middle + 5, result["label"], "chart-ink", "end")
    low, high, median = (axis.at(1e3 * seconds[name]) for name in ("p25", "p75", "median"))
    canvas.rectangle(low, middle - 15, high - low, 30, f"chart-box {kind}")
    jitter = np.random.default_rng(0).uniform(-11, 11, len(seconds["values"]))
    for value, offset in zip(seconds["values"], jitter, strict=True):
        canvas.dot(axis.at(1e3 * value), middle + offset, 3, f"chart-dot {kind}")
    canvas.rectangle(median - 1, middle - 17, 2, 34, f"chart-bar {kind}")
    canvas.text(_WIDTH - 12, middle + 5, f"{1e3 * seconds['median']:.4g} ms", "chart-ink", "end")
