"""The attribution map drawn over the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hat_deploy import files
from hat_deploy.attribution.report import AttributionReport
from hat_deploy.engines.base import Array
from hat_deploy.errors import UsageError

_WIDTH = 720
"""Roughly; pixels of the image become squares of a whole size."""
_STRIP = 56
_BOX, _HALO = (255, 255, 255), (255, 210, 80)
"""OpenCV's order: blue, green, red."""


def check_path(path: Path) -> None:
    """Refuse another suffix, before anything is computed.

    Raises:
        UsageError: it is not ``.png``.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"-o {path}: the map is drawn as a .png")


def save(report: AttributionReport, path: Path) -> None:
    """Write :func:`draw` as PNG.

    Raises:
        UsageError: the file cannot be written.
    """
    encoded, data = cv2.imencode(".png", draw(report))
    assert encoded
    files.write(path, data.tobytes(), "map")


def draw(report: AttributionReport) -> Array:
    """The piece in gray, attribution in colour over it, the box, and the halo if one is advised.

    The colour follows the square root of the attribution: it spans several powers of ten, and
    what little there is far away is what a halo is about.

    Returns:
        (H, W, 3) uint8, blue first, with two lines of text below.
    """
    zoom = max(1, round(_WIDTH / report.pixels.shape[1]))
    strength = np.sqrt(report.map / report.map.max())
    levels = np.rint(255 * strength).astype(np.uint8)
    colour = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO).astype(np.float64)
    gray = report.pixels.mean(axis=2, keepdims=True) * 0.6
    share = np.minimum(1, 2 * strength)[..., None]
    small = np.rint(gray * (1 - share) + colour * share).astype(np.uint8)
    canvas = np.ascontiguousarray(small.repeat(zoom, 0).repeat(zoom, 1))
    if report.advised_halo:
        _rectangle(canvas, report, zoom, report.advised_halo, _HALO)
    _rectangle(canvas, report, zoom, 0, _BOX)
    return np.vstack([canvas, _text(report, canvas.shape[1])])


def _rectangle(
    canvas: Array, report: AttributionReport, zoom: int, halo: int, colour: tuple[int, int, int]
) -> None:
    box, (height, width) = report.inner_box, report.map.shape
    left, top = max(0, box.x - halo) * zoom, max(0, box.y - halo) * zoom
    right = min(width, box.x + box.width + halo) * zoom - 1
    bottom = min(height, box.y + box.height + halo) * zoom - 1
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 2)


def _text(report: AttributionReport, width: int) -> Array:
    strip = np.full((_STRIP, width, 3), 24, np.uint8)
    halo = report.advised_halo
    lines = (
        f"diffusion index {report.diffusion_index:.1f}; white: the box",
        f"light blue: halo of {halo}" if halo else "no halo is drawn",
    )
    for number, line in enumerate(lines):
        place = (8, 22 + 22 * number)
        cv2.putText(strip, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (230,) * 3, 1, cv2.LINE_AA)
    return strip
