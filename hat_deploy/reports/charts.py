"""The comparison of blocks as a chart and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hat_deploy.precision import FP16_MAX
from hat_deploy.reports.page import Table
from hat_deploy.reports.svg import Axis, Canvas, Linear, Log, stacked

if TYPE_CHECKING:
    from hat_deploy.verify.layer_errors import BlockDifference, LayersReport

_WIDTH, _HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 40, 50
_KINDS = {"HAB": "s0", "OCAB": "s1", "RHAG": "s2"}
_OTHER = "s3"


def layers_table(report: LayersReport) -> Table:
    """The figures of a comparison block by block."""
    rows = [
        [
            block.block,
            block.kind,
            f"{block.psnr:.1f}",
            f"{block.difference.max_abs:.1e}",
            f"{block.relative:.1e}",
            f"{block.peak:.4g}",
            f"{block.artifact_peak:.4g}",
        ]
        for block in report.blocks
    ]
    columns = ("block", "kind", "PSNR dB", "max abs", "relative", "peak", "artifact's peak")
    return Table("what leaves each block, artifact against reference", columns, rows)


def layers_svg(report: LayersReport) -> str:
    """Relative error above, largest values below, by depth."""
    title = "Relative error and range after each block, by depth"
    return stacked([_errors(report), _range(report)], title).svg()


def _errors(report: LayersReport) -> Canvas:
    canvas = Canvas(_WIDTH, _HEIGHT, "relative error")
    y = Log.around([b.relative for b in report.blocks], _HEIGHT - _BOTTOM, _TOP)
    x = _frame(canvas, y, len(report.blocks), "relative error after each block (RMS, log scale)")
    canvas.path(
        [(x.at(n), y.at(b.relative)) for n, b in enumerate(report.blocks)], "chart-path " + _OTHER
    )
    for number, block in enumerate(report.blocks):
        place = x.at(number), y.at(block.relative)
        kind = f"chart-bar {_KINDS.get(block.kind, _OTHER)}"
        canvas.dot(*place, 4, kind, f"{block.block}: {block.relative:.1e}")
        if block is report.offender:
            _mark(canvas, *place, block)
    _key(canvas)
    return canvas


def _range(report: LayersReport) -> Canvas:
    canvas = Canvas(_WIDTH, _HEIGHT, "range")
    peaks = [b.peak for b in report.blocks]
    y = Log.around([*peaks, FP16_MAX], _HEIGHT - _BOTTOM, _TOP)
    x = _frame(canvas, y, len(peaks), "largest absolute value after each block (log scale)")
    limit = y.at(FP16_MAX)
    canvas.line(_LEFT, limit, _WIDTH - _RIGHT, limit, "chart-mark")
    canvas.text(_WIDTH - _RIGHT, limit + 16, "largest fp16, 65504", "chart-faint", "end")
    for values, kind in ((peaks, "s0"), ([b.artifact_peak for b in report.blocks], "s1")):
        canvas.path([(x.at(n), y.at(v)) for n, v in enumerate(values)], f"chart-path {kind}")
    canvas.text(_LEFT, _HEIGHT - 10, "reference", "chart-bar s0")
    canvas.text(_LEFT + 90, _HEIGHT - 10, "artifact (covers it where they agree)", "chart-bar s1")
    return canvas


def _frame(canvas: Canvas, y: Axis, count: int, title: str) -> Linear:
    """Title, lines across and the axis of depth."""
    x = Linear(low=-0.5, high=count - 0.5, start=_LEFT, stop=_WIDTH - _RIGHT)
    canvas.text(_LEFT, 24, title, "chart-ink title")
    for value in y.ticks():
        canvas.line(_LEFT, y.at(value), _WIDTH - _RIGHT, y.at(value), "chart-grid")
        canvas.text(_LEFT - 8, y.at(value) + 5, f"{value:.0e}", "chart-faint", "end")
    canvas.line(_LEFT, _HEIGHT - _BOTTOM, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, "chart-line")
    canvas.text(_LEFT, _HEIGHT - _BOTTOM + 18, "input", "chart-faint")
    canvas.text(_WIDTH - _RIGHT, _HEIGHT - _BOTTOM + 18, "output", "chart-faint", "end")
    return x


def _mark(canvas: Canvas, x: float, y: float, block: BlockDifference) -> None:
    anchor = "end" if x > _WIDTH / 2 else "start"
    canvas.line(x, _TOP, x, _HEIGHT - _BOTTOM, "chart-mark")
    beside = x - 8 if anchor == "end" else x + 8
    canvas.text(beside, _TOP + 14, f"first offender: {block.block}", "chart-ink", anchor)


def _key(canvas: Canvas) -> None:
    place = _LEFT
    for name, kind in [*_KINDS.items(), ("other", _OTHER)]:
        canvas.dot(place + 4, _HEIGHT - 15, 4, f"chart-bar {kind}")
        canvas.text(place + 14, _HEIGHT - 10, name)
        place += 80
