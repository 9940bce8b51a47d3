"""What the numbers of a frame mean, and their conversion to RGB and back, exactly rounded.

Source of the formulas: ITU-T H.273, section 8.3 (matrices and ranges).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from hat_deploy.errors import PictureError
from hat_deploy.video.chroma import Siting, enlarge, reduce
from hat_deploy.video.layout import Layout, Plane

Floats = npt.NDArray[np.float64]
RGB, BT709, UNSPECIFIED, BT470BG, SMPTE170M, BT2020 = 0, 1, 2, 5, 6, 9
"""Matrices, and what is written where there is none, by their numbers in H.273."""
_WEIGHTS = {
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    BT470BG: (0.299, 0.114),
    SMPTE170M: (0.299, 0.114),
    7: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
}
"""Kr and Kb of each matrix that is used."""
_LARGEST_SD = 576
"""Rows up to which a clip that does not say is taken for BT.601, as players do."""
_ROWS = 64
"""Rows converted at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How a clip's samples stand for light, by the numbers of H.273."""

    matrix: int
    """That is used and written; never unspecified."""
    full: bool
    """Whether samples use their full range."""
    primaries: int
    """2 where the clip does not say."""
    transfer: int
    """2 where the clip does not say."""
    siting: Siting


def matrix_of(stated: int, layout: Layout, height: int) -> int:
    """The matrix to use.

    Args:
        stated: by the clip.
        height: of its frames.

    Raises:
        PictureError: it is none that is known here.
    """
    if layout.kind == "rgb":
        return RGB
    if stated in _WEIGHTS:
        return stated
    if stated in (UNSPECIFIED, RGB, 3):  # RGB is no matrix of Y, U and V: the field was not filled
        return SMPTE170M if height <= _LARGEST_SD else BT709
    raise PictureError(
        f"its colours are coded by matrix {stated} of H.273, which is not known here: BT.601, "
        "BT.709, BT.2020, SMPTE 240M and FCC are"
    )


def rgb_of(planes: tuple[Plane, ...], layout: Layout, colour: Colour) -> npt.NDArray[Any]:
    """A frame's planes as an image.

    Chroma is interpolated linearly between where its samples lie.

    Returns:
        (H, W, 3), or (H, W, 4) with alpha; uint8 for 8 bits, uint16 for more. A gray frame has
        three equal channels.
    """
    height, width = planes[0].shape
    top = 255 if layout.bits == 8 else 65535
    result = np.empty((height, width, 4 if layout.alpha else 3), np.min_scalar_type(top))
    if layout.alpha:
        result[..., 3] = _scaled(planes[-1], (1 << layout.bits) - 1, top)
    if layout.kind == "rgb":
        for channel, plane in zip((1, 2, 0), planes, strict=False):
            result[..., channel] = _scaled(plane, (1 << layout.bits) - 1, top)
        return result
    if layout.kind == "gray":
        result[..., :3] = _gray(planes[0], layout, colour, top)[..., None]
        return result
    chroma = [_at_luma(plane, layout, colour, height, width) for plane in planes[1:3]]
    matrix = _to_rgb(colour, layout.bits) * top
    for first in range(0, height, _ROWS):
        rows = slice(first, first + _ROWS)
        codes = cv2.merge([planes[0][rows].astype(np.float64), *(part[rows] for part in chroma)])
        result[rows, :, :3] = _rounded(np.asarray(cv2.transform(codes, matrix), np.float64), top)
    return result


def planes_of(pixels: npt.NDArray[Any], layout: Layout, colour: Colour) -> tuple[Plane, ...]:
    """An image as a frame's planes; the inverse of :func:`rgb_of`.

    Args:
        pixels: (H, W, 3) or (H, W, 4), uint8 or uint16; alpha is used where the layout has it.
    """
    top, most = np.iinfo(pixels.dtype).max, (1 << layout.bits) - 1
    alpha: tuple[Plane, ...] = ()
    if layout.alpha:
        opaque = pixels.shape[2] == 3
        own = np.full(pixels.shape[:2], top, pixels.dtype) if opaque else pixels[..., 3]
        alpha = (_scaled(own, top, most).astype(layout.dtype),)
    if layout.kind == "rgb":
        return (
            *(_scaled(pixels[..., at], top, most).astype(layout.dtype) for at in (1, 2, 0)),
            *alpha,
        )
    height, width = pixels.shape[:2]
    codes = np.empty((height, width, 3))
    matrix = _from_rgb(colour, layout.bits)
    matrix[:, :3] /= top
    for first in range(0, height, _ROWS):
        rows = slice(first, first + _ROWS)
        colours = np.ascontiguousarray(pixels[rows, :, :3], np.float64)
        codes[rows] = cv2.transform(colours, matrix)
    wanted = [codes[..., 0]]
    if layout.kind == "yuv":
        wanted += [_at_chroma(codes[..., at], layout, colour) for at in (1, 2)]
    return (*(_rounded(plane, most).astype(layout.dtype) for plane in wanted), *alpha)


def _span(colour: Colour, bits: int) -> tuple[float, float, float, float]:
    """Luma's code for black and its codes from black to white; the same of chroma, from zero."""
    if colour.full:
        return 0.0, (1 << bits) - 1.0, float(1 << (bits - 1)), (1 << bits) - 1.0
    unit = 1 << (bits - 8)
    return 16.0 * unit, 219.0 * unit, 128.0 * unit, 224.0 * unit


def _to_rgb(colour: Colour, bits: int) -> Floats:
    """(3, 4) from codes Y, U, V and 1 to R, G, B of 0 to 1."""
    kr, kb = _WEIGHTS[colour.matrix]
    kg = 1 - kr - kb
    black, luma, zero, chroma = _span(colour, bits)
    mixed = np.array(
        [
            [1, 0, 2 * (1 - kr)],
            [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
            [1, 2 * (1 - kb), 0],
        ]
    )
    scaled = mixed / np.array([luma, chroma, chroma])
    return np.column_stack([scaled, -scaled @ np.array([black, zero, zero])])


def _from_rgb(colour: Colour, bits: int) -> Floats:
    """(3, 4) from R, G, B of 0 to 1 and 1 to codes Y, U, V."""
    kr, kb = _WEIGHTS[colour.matrix]
    kg = 1 - kr - kb
    black, luma, zero, chroma = _span(colour, bits)
    mixed = np.array(
        [
            [kr, kg, kb],
            [-kr / (2 * (1 - kb)), -kg / (2 * (1 - kb)), 0.5],
            [0.5, -kg / (2 * (1 - kr)), -kb / (2 * (1 - kr))],
        ]
    )
    return np.column_stack([mixed * np.array([[luma], [chroma], [chroma]]), [black, zero, zero]])


def _gray(plane: Plane, layout: Layout, colour: Colour, top: int) -> npt.NDArray[Any]:
    black, luma, _, _ = _span(colour, layout.bits)
    return _rounded((plane.astype(np.float64) - black) * (top / luma), top)


def _at_luma(plane: Plane, layout: Layout, colour: Colour, height: int, width: int) -> Floats:
    tall = enlarge(plane, layout.down, height, 0, centred=colour.siting.down)
    return np.ascontiguousarray(
        enlarge(tall, layout.across, width, 1, centred=colour.siting.across)
    )


def _at_chroma(plane: Floats, layout: Layout, colour: Colour) -> Floats:
    narrow = reduce(plane, layout.across, 1, centred=colour.siting.across)
    return reduce(narrow, layout.down, 0, centred=colour.siting.down)


def _scaled(plane: npt.NDArray[Any], most: int, top: int) -> npt.NDArray[Any]:
    """Samples of 0 to ``most`` as samples of 0 to ``top``."""
    if most == top:
        return plane
    return _rounded(plane.astype(np.float64) * (top / most), top)


def _rounded(values: Floats, top: int) -> npt.NDArray[Any]:
    """Rounded half up, as integers of 0 to ``top``."""
    return np.clip(np.floor(values + 0.5), 0, top).astype(np.min_scalar_type(top))
