"""Figures for the documentation, on a white card that is readable on every background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.cost import cost

HALOS = (8, 16, 32, 64)
"""That the cost of tiles is drawn for."""
TILES = range(48, 513, 16)
MOST_WORK = 4.0
"""Times the work of a tile without a halo; curves that begin higher begin there."""
COLOURS = ("#0550ae", "#bc4c00", "#116329", "#8250df")
matplotlib.rcParams.update(
    {
        "axes.axisbelow": True,
        "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "grid.color": "#d0d7de",
        "svg.fonttype": "none",
        "svg.hashsalt": "hat-deploy",
    }
)

Json = Mapping[str, Any]


def ceiling(reports: Mapping[str, Json], scope: str = "engine call") -> Figure:
    """What share of the machine's fastest matrix product each contender reaches.

    Args:
        reports: runs by name, a panel each; contenders whose ceiling is unknown are left out.

    Raises:
        ValueError: that scope was not measured.
    """
    figure = Figure(figsize=(9, 0.6 + 2 * len(reports)))
    figure.suptitle(f"share of the ceiling, a large matrix product on the same machine ({scope})")
    panels = figure.subplots(len(reports), sharex=True, squeeze=False)[:, 0]
    for axes, (name, report) in zip(panels, reports.items(), strict=True):
        _bars(axes, name, _results(report, scope))
    return figure


def tile_cost(config: HATConfig, title: str) -> Figure:
    """Multi-adds for each LR pixel that is kept, by tile side, from the cost model.

    A tile with neighbours on all sides keeps its side less two halos. Nothing is timed.
    """
    least = cost(config, TILES[-1], TILES[-1]).multi_adds / TILES[-1] ** 2 / 1e6
    figure = Figure(figsize=(9, 4))
    axes = figure.subplots()
    for halo in HALOS:
        axes.plot(*zip(*work(config, halo, MOST_WORK * least), strict=True), label=f"halo {halo}")
    axes.axhline(least, color="#8c959f", label="no halo")
    axes.set_title(f"{title}: million multi-adds for each LR pixel kept")
    axes.set_xlabel("tile side, halo included")
    axes.set_xticks(range(64, TILES[-1] + 1, 64))
    axes.set_ylim(0, MOST_WORK * least)
    axes.grid(axis="y")
    axes.legend()
    return figure


def work(config: HATConfig, halo: int, most: float) -> list[tuple[int, float]]:
    """Tile side and million multi-adds for each pixel kept, where that is no more than ``most``."""
    sides = [side for side in TILES if side % config.window_size == 0 and side > 2 * halo]
    each = [(s, cost(config, s, s).multi_adds / (s - 2 * halo) ** 2 / 1e6) for s in sides]
    return [(side, needed) for side, needed in each if needed <= most]


def _results(report: Json, scope: str) -> Sequence[Json]:
    for measured in report["scopes"]:
        if measured["scope"] == scope:
            return measured["results"]
    raise ValueError(f"scope '{scope}' was not measured")


def _bars(axes: Axes, name: str, results: Sequence[Json]) -> None:
    known = [result for result in results if result["ceiling_share"] is not None]
    shares = [result["ceiling_share"] for result in known]
    bars = axes.barh([result["label"] for result in known], shares, color=COLOURS)
    axes.bar_label(bars, [f"{share:.1%}" for share in shares], padding=4)
    axes.set_title(name)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.invert_yaxis()
    axes.grid(axis="x")
