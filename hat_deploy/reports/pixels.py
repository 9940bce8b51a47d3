"""Images as a page shows them: crops, error maps, data URIs."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import cv2
import numpy as np

from hat_deploy.engines.base import Array

BROKEN = (255, 0, 255)
"""RGB of what is not finite: no colour of the error maps comes near it."""
_COLOURS = cv2.COLORMAP_INFERNO
"""Perceptually uniform and dark at 0: equal steps of error look equally far apart."""
_LOSSLESS = 101
_BRIGHTEST = 0.005
"""Share of an error map that may have the brightest colour."""
_ROUND = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
"""Times a power of ten: what an error map may end at."""


@dataclass(frozen=True)
class Window:
    """The part of an image that is shown, in LR pixels."""

    rows: range
    columns: range

    def cut(self, pixels: Array, scale: int) -> Array:
        """That part of (H, W, ...) which is ``scale`` times the LR image."""
        rows, columns = (
            slice(span.start * scale, span.stop * scale) for span in (self.rows, self.columns)
        )
        return pixels[rows, columns]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeatMap:
    """An error map in colour."""

    image: Array
    """(H, W, 3) uint8 RGB."""
    full: float
    """The error from which on the colour is the brightest: a round number."""
    largest: float
    """The largest error there is."""
    shrunk: int
    """How many pixels a side became one, which has the largest error of them."""


def to_rgb(values: Array) -> Array:
    """(C, H, W) floats in [0, 1] as (H, W, 3) uint8, clipped; what is not finite in magenta."""
    finite = np.isfinite(values).all(axis=0)
    rounded = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    picture = as_rgb(rounded.transpose(1, 2, 0))
    picture[~finite] = BROKEN
    return picture


def as_rgb(pixels: Array) -> Array:
    """(H, W), (H, W, 1) or (H, W, 3) uint8 as a new (H, W, 3)."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))).copy()


def error(reference: Array, candidate: Array) -> Array:
    """Largest absolute difference over the channels.

    Args:
        reference, candidate: (C, H, W), any float type.

    Returns:
        (H, W) float32; NaN where one of the two is not finite.
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(candidate.astype(np.float32) - reference.astype(np.float32)).max(axis=0)
    apart[~np.isfinite(apart)] = np.nan
    return np.asarray(apart, np.float32)


def window(found: Array, side: int, scale: int) -> Window:
    """At most ``side`` result pixels a side, around the largest error.

    Args:
        found: (H, W) errors of the result.
        side: longest side shown, in pixels of the result.
        scale: of the result over the LR image.
    """
    worst = np.unravel_index(np.argmax(np.nan_to_num(found, nan=np.inf)), found.shape)
    spans = []
    for centre, length in zip(worst, found.shape, strict=True):
        shown = min(max(1, side // scale), length // scale)
        start = min(max(0, int(centre) // scale - shown // 2), length // scale - shown)
        spans.append(range(start, start + shown))
    return Window(*spans)


def heat_map(found: Array, side: int, full: float | None = None) -> HeatMap:
    """Errors in colour, larger ones shrunk so that no side is above ``side``.

    Args:
        found: (H, W) errors, NaN where there is none to tell.
        side: longest side of the result.
        full: what has the brightest colour; None: what all but the largest ``_BRIGHTEST`` of
            the errors keep to, so that one outlier does not leave the rest in the dark.
    """
    factor = math.ceil(max(found.shape) / side)
    pooled = _pooled(found, factor)
    largest = float(np.nanmax(pooled)) if np.isfinite(pooled).any() else 0.0
    full = full or full_scale(pooled)
    scaled = np.rint(np.nan_to_num(np.clip(pooled / full, 0, 1)) * 255).astype(np.uint8)
    image = cv2.cvtColor(cv2.applyColorMap(scaled, _COLOURS), cv2.COLOR_BGR2RGB)
    image[np.isnan(pooled)] = BROKEN
    return HeatMap(image=image, full=full, largest=largest, shrunk=factor)


def full_scale(found: Array) -> float:
    """Where the colours of an error map should end."""
    finite = found[np.isfinite(found)]
    return nice_ceiling(float(np.quantile(finite, 1 - _BRIGHTEST)) if finite.size else 0.0)


def nice_ceiling(value: float) -> float:
    """The smallest round number that is no less, one of ``_ROUND``; 1 for nothing."""
    if not 0 < value < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(m * power for m in _ROUND if m * power >= value * (1 - 1e-9)))


def colour_bar(stops: int = 16) -> str:
    """The colours of the error maps, from 0 up, as a CSS gradient."""
    levels = np.linspace(0, 255, stops).round().astype(np.uint8)[:, None]
    colours = cv2.cvtColor(cv2.applyColorMap(levels, _COLOURS), cv2.COLOR_BGR2RGB)[:, 0]
    return f"linear-gradient(90deg, {', '.join('#' + bytes(colour).hex() for colour in colours)})"


def data_uri(picture: Array) -> str:
    """(H, W, 3) uint8 RGB as lossless WebP in a data URI."""
    parameters = [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS]
    encoded, data = cv2.imencode(".webp", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)
    assert encoded
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _pooled(found: Array, factor: int) -> Array:
    """The largest of each ``factor`` x ``factor`` pixels, NaN where one of them is."""
    if factor == 1:
        return found
    height, width = (-(-length // factor) * factor for length in found.shape)
    padded = np.zeros((height, width), found.dtype)
    padded[: found.shape[0], : found.shape[1]] = found
    blocks = padded.reshape(height // factor, factor, width // factor, factor)
    return np.asarray(blocks.max(axis=(1, 3)))
