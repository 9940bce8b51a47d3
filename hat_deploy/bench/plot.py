"""Latency distributions as a picture; drawn with OpenCV, which is there anyway."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hat_deploy import files
from hat_deploy.bench.report import Report, Result, ScopeReport
from hat_deploy.engines.base import Array
from hat_deploy.errors import UsageError
from hat_deploy.reports.svg import tick_values

WIDTH = 1000
_LEFT, _RIGHT = 190, 40
_TITLE, _ROW, _AXIS = 40, 64, 44
_BLACK, _GRAY, _BLUE, _ORANGE = (0, 0, 0), (160, 160, 160), (180, 119, 31), (14, 127, 255)
"""OpenCV's order: blue, green, red."""


@dataclass(frozen=True)
class _Axis:
    """Milliseconds, from 0 at the left to ``largest`` at the right."""

    largest: float

    def at(self, milliseconds: float) -> int:
        room = WIDTH - _LEFT - _RIGHT
        return _LEFT + round(room * milliseconds / self.largest)


def save(report: Report, path: Path) -> None:
    """Write :func:`draw` as PNG.

    Raises:
        UsageError: another suffix, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: a plot is a .png")
    encoded, data = cv2.imencode(".png", draw(report))
    assert encoded
    files.write(path, data.tobytes(), "plot")


def draw(report: Report) -> Array:
    """A panel a scope, a row a contender: every call a dot, quartiles a box, median a line.

    Returns:
        (height, 1000, 3) uint8, blue first.
    """
    return np.vstack([_panel(scope) for scope in report.scopes])


def _panel(scope: ScopeReport) -> Array:
    count = len(scope.results)
    canvas = np.full((_TITLE + count * _ROW + _AXIS, WIDTH, 3), 255, np.uint8)
    axis = _Axis(1.05e3 * max(max(result.seconds.values) for result in scope.results))
    calls = len(scope.results[0].seconds.values)
    _text(canvas, f"{scope.scope.value}, {calls} calls each: milliseconds", (12, 26), _BLACK)
    for row, result in enumerate(scope.results):
        _row(canvas, result, axis, _TITLE + row * _ROW)
    _ticks(canvas, axis, _TITLE + count * _ROW)
    return canvas


def _row(canvas: Array, result: Result, axis: _Axis, top: int) -> None:
    middle = top + _ROW // 2
    _text(canvas, result.label, (12, middle + 5), _BLACK)
    jitter = np.random.default_rng(0).integers(-20, 21, len(result.seconds.values))
    for seconds, offset in zip(result.seconds.values, jitter, strict=True):
        centre = (axis.at(seconds * 1e3), middle + int(offset))
        cv2.circle(canvas, centre, 2, _BLUE, -1, cv2.LINE_AA)
    low, high = (axis.at(quartile * 1e3) for quartile in result.seconds.quartiles)
    cv2.rectangle(canvas, (low, middle - 22), (high, middle + 22), _ORANGE, 1)
    median = axis.at(result.seconds.median * 1e3)
    cv2.line(canvas, (median, middle - 24), (median, middle + 24), _ORANGE, 2)


def _ticks(canvas: Array, axis: _Axis, top: int) -> None:
    cv2.line(canvas, (_LEFT, top), (WIDTH - _RIGHT, top), _BLACK, 1)
    for value in tick_values(axis.largest):
        x = axis.at(value)
        cv2.line(canvas, (x, top), (x, top + 6), _BLACK, 1)
        _text(canvas, f"{value:g}", (x - 10, top + 24), _GRAY)


def _text(canvas: Array, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
