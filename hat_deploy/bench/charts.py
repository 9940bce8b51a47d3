"""The figures of ``bench`` as SVG, for a README: light and dark backgrounds alike.

They are drawn from what ``Report.to_dict`` gives, so that a file of results can be drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hat_deploy.networks import Shape
from hat_deploy.reports.svg import SERIES, Canvas, Linear, stacked

WIDTH = 900
HALOS = (8, 16, 32, 64)
"""That the cost of tiles is drawn for; one colour each."""
TILES = range(48, 513, 16)
MOST_WORK = 4.0
"""Times the work of a tile without a halo; curves that begin higher begin there."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 170, 90, 44, 40
_ROW, _BAR = 46, 26
_HEIGHT = 380

Json = Mapping[str, Any]


def latency(report: Json, scope: str, title: str) -> str:
    """Every call of every contender: dots, a box from quartile to quartile, the median in figures.

    Args:
        report: of one run.
        scope: ``engine call``, ``tile loop`` or ``file to file``.
        title: what was measured.

    Raises:
        ValueError: that scope was not measured.
    """
    results = _results(report, scope)
    canvas = Canvas(WIDTH, _TOP + _ROW * len(results) + _BOTTOM, title)
    longest = max(max(result["seconds"]["values"]) for result in results)
    axis = Linear(high=1.05e3 * longest, start=_LEFT, stop=WIDTH - _RIGHT)
    count = results[0]["seconds"]["count"]
    canvas.text(12, 26, f"{title}: milliseconds, {count} calls each", "chart-ink title")
    bottom = _TOP + _ROW * len(results)
    for value in axis.ticks():
        canvas.line(axis.at(value), _TOP, axis.at(value), bottom, "chart-grid")
        canvas.text(axis.at(value), bottom + 20, f"{value:g}", "chart-faint", "middle")
    for number, result in enumerate(results):
        _distribution(canvas, axis, result, _TOP + _ROW * number, f"s{number % SERIES}")
    return canvas.svg()


def ceiling(reports: Mapping[str, Json], scope: str = "engine call") -> str:
    """What share of the machine's fastest matrix product each contender reaches.

    Args:
        reports: runs by name, a panel each; contenders whose ceiling is unknown are left out.
    """
    title = "share of the ceiling, a large matrix product on the same machine"
    panels = [_bars(name, _results(report, scope)) for name, report in reports.items()]
    head = Canvas(WIDTH, 36, title)
    head.text(12, 26, f"{title} ({scope})", "chart-ink title")
    return stacked([head, *panels], title).svg()


def tile_cost(config: Shape, title: str) -> str:
    """Multi-adds for each LR pixel that is kept, by tile side, from the cost model.

    A tile with neighbours on all sides keeps its side less two halos. Nothing is timed.
    """
    canvas = Canvas(WIDTH, _HEIGHT, title)
    least = config.cost(TILES[-1], TILES[-1]).multi_adds / TILES[-1] ** 2 / 1e6
    x = Linear(low=TILES[0], high=TILES[-1], start=80, stop=WIDTH - _RIGHT)
    y = Linear(high=MOST_WORK * least, start=_HEIGHT - 60, stop=_TOP)
    canvas.text(12, 26, f"{title}: million multi-adds for each LR pixel kept", "chart-ink title")
    for value in y.ticks():
        canvas.line(x.start, y.at(value), x.stop, y.at(value), "chart-grid")
        canvas.text(x.start - 8, y.at(value) + 5, f"{value:g}", "chart-faint", "end")
    for side in range(64, TILES[-1] + 1, 64):
        canvas.text(x.at(side), y.start + 20, str(side), "chart-faint", "middle")
    canvas.text(x.at(288), y.start + 44, "tile side, halo included", "chart-faint", "middle")
    canvas.line(x.start, y.at(least), x.stop, y.at(least), "chart-line")
    canvas.text(x.stop + 8, y.at(least) + 14, "no halo", "chart-faint")
    for number, halo in enumerate(HALOS):
        points = _work(config, halo, MOST_WORK * least)
        canvas.path([(x.at(side), y.at(work)) for side, work in points], f"chart-path s{number}")
        _label(canvas, x, y, points[0], f"halo {halo}", f"chart-bar s{number}")
    return canvas.svg()


def _label(
    canvas: Canvas, x: Linear, y: Linear, point: tuple[int, float], text: str, kind: str
) -> None:
    """Beside the upper end of a curve."""
    canvas.text(x.at(point[0]) + 8, max(y.at(point[1]) + 4, y.stop + 12), text, kind)


def _work(config: Shape, halo: int, most: float) -> list[tuple[int, float]]:
    """Tile side and million multi-adds for each pixel kept, where that is no more than ``most``."""
    points = []
    for side in TILES:
        kept = side - 2 * halo
        if side % config.window or kept <= 0:
            continue
        work = config.cost(side, side).multi_adds / kept**2 / 1e6
        if work <= most:
            points.append((side, work))
    return points


def _results(report: Json, scope: str) -> Sequence[Json]:
    for measured in report["scopes"]:
        if measured["scope"] == scope:
            results: Sequence[Json] = measured["results"]
            return results
    raise ValueError(f"scope '{scope}' was not measured")


def _distribution(canvas: Canvas, axis: Linear, result: Json, top: int, kind: str) -> None:
    seconds, middle = result["seconds"], top + _ROW / 2
    canvas.text(_LEFT - 12, middle + 5, result["label"], "chart-ink", "end")
    low, high, median = (axis.at(1e3 * seconds[name]) for name in ("p25", "p75", "median"))
    canvas.rectangle(low, middle - 15, high - low, 30, f"chart-box {kind}")
    jitter = np.random.default_rng(0).uniform(-11, 11, len(seconds["values"]))
    for value, offset in zip(seconds["values"], jitter, strict=True):
        canvas.dot(axis.at(1e3 * value), middle + offset, 3, f"chart-dot {kind}")
    canvas.rectangle(median - 1, middle - 17, 2, 34, f"chart-bar {kind}")
    canvas.text(WIDTH - 12, middle + 5, f"{1e3 * seconds['median']:.4g} ms", "chart-ink", "end")


def _bars(name: str, results: Sequence[Json]) -> Canvas:
    known = [result for result in results if result["ceiling_share"] is not None]
    canvas = Canvas(WIDTH, 30 + (_BAR + 8) * len(known) + 10, name)
    axis = Linear(high=1.0, start=_LEFT, stop=WIDTH - _RIGHT)
    canvas.text(12, 20, name, "chart-faint")
    bottom = 26 + (_BAR + 8) * len(known)
    for share in (0.25, 0.5, 0.75, 1.0):
        canvas.line(axis.at(share), 26, axis.at(share), bottom, "chart-grid")
        canvas.text(axis.at(share), 20, f"{share:.0%}", "chart-faint", "middle")
    for number, result in enumerate(known):
        top, share = 28 + (_BAR + 8) * number, result["ceiling_share"]
        canvas.text(_LEFT - 12, top + 18, result["label"], "chart-ink", "end")
        end = axis.at(min(share, 1.0))
        canvas.rectangle(_LEFT, top, end - _LEFT, _BAR, f"chart-bar s{number % SERIES}")
        canvas.text(WIDTH - 12, top + 18, f"{share:.1%}", "chart-ink", "end")
    return canvas
