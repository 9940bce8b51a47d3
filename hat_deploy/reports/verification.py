"""What ``verify`` found, as a page: pictures, error maps, seams, figures, machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.engines.base import Array
from hat_deploy.geometry import Grid, image_size, tile_size
from hat_deploy.metrics import SSIM_WINDOW, ssim_y
from hat_deploy.reports import charts, figures, page, pixels, wording
from hat_deploy.reports.album import MAP_SIDE, SIDE, Album
from hat_deploy.reports.machine import machine
from hat_deploy.terminal.printable import display_name
from hat_deploy.verify.fidelity import PictureFidelity, Report

if TYPE_CHECKING:
    from hat_deploy.verify.comparison import Rendering


class VerificationPage:
    """Collects pictures while ``verify`` runs, and becomes a page with its report."""

    def __init__(self) -> None:
        self._album = Album()
        self._ssim: dict[int, float | None] = {}

    def add(self, rendering: Rendering) -> None:
        """Keep what is to be shown of a picture; the arrays themselves are let go."""
        name = display_name(rendering.fidelity.name)
        self._ssim[len(self._ssim)] = _ssim(rendering.expected, rendering.computed)
        self._album.add(name, lambda: "\n".join(_section(rendering)))

    def html(self, report: Report) -> str:
        """The page.

        Args:
            report: of the run whose pictures were added, in the same order.
        """
        title = f"verify: {display_name(PurePath(report.artifact['path']).name)}"
        return page.page(title, self._body(report))

    def _body(self, report: Report) -> Iterator[str]:
        headline = "Verified" if report.passed else "Not verified"
        yield page.verdict(report.passed, headline, report.failures)
        yield page.bullets([f"warning: {warning}" for warning in report.warnings])
        yield page.paragraph(f"Asked: {wording.limits(report)}.")
        if report.foreign_constants == ():
            yield page.paragraph("Every constant of the artifact is the checkpoint's, bit for bit.")
        for number, picture in enumerate(report.pictures):
            yield _table(picture, self._ssim[number])
        yield page.paragraph(self._album.note, "note") if self._album.left_out else ""
        yield from self._album
        if report.layers is not None:
            yield page.heading("Block by block")
            yield from charts.layers(report.layers)
        yield page.heading("What was compared, on what")
        yield page.facts(_facts(report))


def _table(picture: PictureFidelity, ssim: float | None) -> str:
    size = image_size(picture.height, picture.width)
    caption = f"{display_name(picture.name)}, {size}"
    rows = []
    for name, difference in wording.rows(picture):
        told = "" if ssim is None or name != "end to end" else f"{ssim:.6f}"
        rows.append([name, *wording.cells(difference), told])
    return page.table(caption, ["compared", *wording.COLUMNS, "SSIM (Y)"], rows)


def _section(rendering: Rendering) -> Iterator[str]:
    found, scale = rendering.fidelity, rendering.scale
    yield page.heading(f"{display_name(found.name)}, {image_size(found.height, found.width)}")
    whole = rendering.whole
    wrong = pixels.error(rendering.expected, rendering.computed)
    seams = None if whole is None else pixels.error(whole, rendering.expected)
    shown = pixels.window(_telling(wrong, seams), SIDE, scale)
    yield figures.compare(
        _pictures(rendering, shown), _caption(rendering, shown), left="reference", right="artifact"
    )
    yield page.heading("Error of the artifact", 3)
    heat = pixels.heat_map(wrong, MAP_SIDE)
    borders, size = _borders(rendering.grid, found, scale), wrong.shape
    caption = "artifact against reference, both in the same tiles"
    yield figures.heat(heat, caption, borders, (size[0], size[1]))
    yield page.heading("Seams: what tiles change", 3)
    if seams is None:
        yield page.paragraph(f"The picture was not run whole: {found.whole_skipped}.", "note")
        return
    heat = pixels.heat_map(seams, MAP_SIDE)
    caption = "reference in tiles against reference at once; a halo too narrow shows as lines"
    yield figures.heat(heat, caption, borders, (size[0], size[1]))


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
        return f"The whole picture, x{scale}: drag, or focus it and press the arrow keys."
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
    """Of the two as 8-bit pictures; None where they are too small, or not finite."""
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
