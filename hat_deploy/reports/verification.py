"""What ``verify`` found, as a page: images, error maps, seams, figures, machine."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.engines.base import Array
from hat_deploy.geometry import Grid, image_size, tile_size
from hat_deploy.metrics import SSIM_WINDOW, ssim_y
from hat_deploy.reports import charts, figures, page, pixels, wording
from hat_deploy.reports.album import MAP_SIDE, SIDE, Album
from hat_deploy.reports.machine import machine
from hat_deploy.reports.page import Table
from hat_deploy.terminal.printable import display_name
from hat_deploy.verify.fidelity import PictureFidelity, Report

if TYPE_CHECKING:
    from hat_deploy.verify.comparison import Rendering


class VerificationPage:
    """Collects images while ``verify`` runs, and becomes a page with its report."""

    def __init__(self) -> None:
        self._album = Album()
        self._ssim: list[float | None] = []

    def add(self, rendering: Rendering) -> None:
        """Keep what is to be shown of an image; the arrays themselves are let go."""
        name = display_name(rendering.fidelity.name)
        self._ssim.append(_ssim(rendering.expected, rendering.computed))
        self._album.add(name, lambda: _section(rendering))

    def html(self, report: Report) -> str:
        """The page.

        Args:
            report: of the run whose images were added, in the same order.
        """
        layers = report.layers
        return page.render(
            "verification.html",
            title=f"verify: {display_name(PurePath(report.artifact['path']).name)}",
            passed=report.passed,
            failures=report.failures,
            warnings=[f"warning: {warning}" for warning in report.warnings],
            limits=wording.limits(report),
            constants_equal=report.foreign_constants == (),
            tables=[_table(*found) for found in zip(report.pictures, self._ssim, strict=True)],
            album=self._album,
            layers=layers,
            layers_chart=None if layers is None else charts.layers_svg(layers),
            layers_table=None if layers is None else charts.layers_table(layers),
            facts=_facts(report),
        )


def _table(picture: PictureFidelity, ssim: float | None) -> Table:
    size = image_size(picture.height, picture.width)
    caption = f"{display_name(picture.name)}, {size}"
    rows = []
    for name, difference in wording.rows(picture):
        told = "" if ssim is None or name != "end to end" else f"{ssim:.6f}"
        rows.append([name, *wording.cells(difference), told])
    return Table(caption, ["compared", *wording.COLUMNS, "SSIM (Y)"], rows)


def _section(rendering: Rendering) -> str:
    found, whole = rendering.fidelity, rendering.whole
    wrong = pixels.error(rendering.expected, rendering.computed)
    seams = None if whole is None else pixels.error(whole, rendering.expected)
    shown = pixels.window(_telling(wrong, seams), SIDE, rendering.scale)
    pictures, caption = _pictures(rendering, shown), _caption(rendering, shown)
    return page.render(
        "verification_image.html",
        title=f"{display_name(found.name)}, {image_size(found.height, found.width)}",
        slider=figures.slider(pictures, caption, left="reference", right="artifact"),
        error=_error_map(rendering, wrong, "artifact against reference, both in the same tiles"),
        seams=None
        if seams is None
        else _error_map(
            rendering,
            seams,
            "reference in tiles against reference at once; a halo too narrow shows as lines",
        ),
        whole_skipped=found.whole_skipped,
        padding=wording.padding(found),
    )


def _error_map(rendering: Rendering, error: Array, caption: str) -> figures.ErrorMap:
    borders = _borders(rendering.grid, rendering.fidelity, rendering.scale)
    height, width = error.shape
    return figures.error_map(pixels.heat_map(error, MAP_SIDE), caption, borders, (height, width))


def _telling(wrong: Array, seams: Array | None) -> Array:
    """The map to look at: where the artifact is right, that of the seams."""
    if seams is None or not np.isfinite(wrong).all() or wrong.max() >= seams.max():
        return wrong
    return seams


def _pictures(rendering: Rendering, shown: pixels.Window) -> dict[str, Array]:
    """What the slider may show, by name."""
    scale = rendering.scale
    results = {
        "reference": rendering.expected,
        "artifact": rendering.computed,
        "reference, not in tiles": rendering.whole,
    }
    return {
        name: shown.cut(pixels.to_rgb(values), scale)
        for name, values in results.items()
        if values is not None
    } | {"input": shown.cut(pixels.as_rgb(rendering.pixels), 1)}


def _caption(rendering: Rendering, shown: pixels.Window) -> str:
    found, scale = rendering.fidelity, rendering.scale
    if (len(shown.rows), len(shown.columns)) == (found.height, found.width):
        return f"The whole image, x{scale}: drag, or focus it and press the arrow keys."
    return (
        f"Rows {shown.rows.start} to {shown.rows.stop - 1} and columns {shown.columns.start} to "
        f"{shown.columns.stop - 1} of the input, x{scale}: a part of at most {SIDE} pixels a side "
        "around the largest difference. Drag, or focus it and press the arrow keys."
    )


def _borders(grid: Grid, found: PictureFidelity, scale: int) -> str:
    """Lines where what one tile gives ends and the next one's begins."""
    rows = {tile.rows.keep.start for tile in grid.tiles} - {0}
    columns = {tile.columns.keep.start for tile in grid.tiles} - {0}
    height, width = found.height * scale, found.width * scale
    across = [f"M0 {row * scale}H{width}" for row in sorted(rows)]
    down = [f"M{column * scale} 0V{height}" for column in sorted(columns)]
    return "".join(across + down)


def _ssim(expected: Array, computed: Array) -> float | None:
    """Of the two as 8-bit images; None where they are too small, or not finite."""
    if min(expected.shape[1:]) < SSIM_WINDOW or not np.isfinite(computed).all():
        return None
    return ssim_y(pixels.to_rgb(expected), pixels.to_rgb(computed), border=0)


def _facts(report: Report) -> dict[str, object]:
    description = report.artifact["description"]
    told: dict[str, object] = {
        "artifact": display_name(report.artifact["path"]),
        "its SHA-256": report.artifact["sha256"],
        "precision": description["precision"],
        "tile": tile_size(tuple(description["tile"])),
        "halo": report.settings["halo"],
        "engine": report.engine,
        "reference": display_name(report.reference["path"]),
        "reference SHA-256": report.reference["sha256"],
    }
    return told | machine(report.hardware, report.versions)
