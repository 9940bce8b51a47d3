"""How far two images, or two tensors, are apart. NumPy only.

Two families. :func:`psnr_y` and :func:`ssim_y` score images as super-resolution papers do, and
compare a method with a ground truth. :func:`compare` holds an artifact's tensors against the
reference's, and is the ground of every claim that an artifact computes what the network computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window (Wang et al. 2004)."""
_SSIM_SIGMA = 1.5
_SSIM_C1 = (0.01 * 255) ** 2
_SSIM_C2 = (0.03 * 255) ** 2
_BAND = 256
"""Rows of SSIM's map computed at a time: bounds its memory whatever the image."""
_CHUNK = 1 << 16
"""Values compared at a time."""


def luma(picture: Picture) -> Floats:
    """Y of BT.601 YCbCr in limited range, not rounded.

    Args:
        picture: (H, W, 3) uint8 RGB; gray is three equal channels.

    Returns:
        (H, W) float64 in [16, 235]; 16 + g * 219 / 255 for a gray of g.

    Raises:
        ValueError: the image is not uint8 RGB.

    Source: ITU-R BT.601, with the coefficients of MATLAB's rgb2ycbcr.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"{_described(picture)} is not an RGB image: expected (H, W, 3) uint8")
    red, green, blue = np.moveaxis(picture, 2, 0)
    y: Floats = red * (65.481 / 255)
    y += green * (128.553 / 255)
    y += blue * (24.966 / 255)
    y += 16.0
    return y


def psnr_y(a: Picture, b: Picture, *, border: int) -> float:
    """Peak signal-to-noise ratio of the Y channels in dB, peak 255.

    Args:
        a, b: (H, W, 3) uint8 RGB, or gray as (H, W) or (H, W, 1), which counts as three equal
            channels: papers' code reads every file in colour before it takes Y.
        border: pixels left out along each edge; the field leaves out ``scale``.

    Returns:
        ``inf`` when the two are equal there.

    Raises:
        ValueError: shapes or dtypes differ, are not an image's, or the border leaves nothing.
    """
    y_a, y_b = _cropped_pair(a, b, border, smallest=1)
    mse = float(np.mean((y_a - y_b) ** 2))
    return _decibels(mse, peak=255.0)


def ssim_y(a: Picture, b: Picture, *, border: int) -> float:
    """Mean structural similarity of the Y channels, 1 for equal images.

    An 11x11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03 and L 255, over the positions where the
    window lies wholly inside.

    Args:
        a, b: as for :func:`psnr_y`.
        border: pixels left out along each edge; the field leaves out ``scale``.

    Raises:
        ValueError: as for :func:`psnr_y`, or less than 11x11 pixels are left.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
    structural similarity" (2004), at full resolution.
    """
    y_a, y_b = _cropped_pair(a, b, border, smallest=SSIM_WINDOW)
    rows = y_a.shape[0] - SSIM_WINDOW + 1
    total, count = 0.0, 0
    for top in range(0, rows, _BAND):
        band = slice(top, min(top + _BAND, rows) + SSIM_WINDOW - 1)
        similarity = _ssim_map(y_a[band], y_b[band])
        total += float(similarity.sum())
        count += similarity.size
    return total / count


def _ssim_map(a: Floats, b: Floats) -> Floats:
    mean_a, mean_b = _gaussian(a), _gaussian(b)
    product = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    variances = _gaussian(a * a + b * b) - squares
    covariance = _gaussian(a * b) - product
    top = (2 * product + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    return top / ((squares + _SSIM_C1) * (variances + _SSIM_C2))


def _gaussian(x: Floats) -> Floats:
    """Window means of (H, W) at the (H - 10, W - 10) positions inside it."""
    distance = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(distance**2) / (2 * _SSIM_SIGMA**2))
    weights /= weights.sum()
    for axis in (0, 1):
        length = x.shape[axis] - SSIM_WINDOW + 1
        x = _weighted_sum(np.moveaxis(x, axis, 0), weights, length).swapaxes(0, axis)
    return x


def _weighted_sum(x: Floats, weights: Floats, length: int) -> Floats:
    out: Floats = weights[0] * x[:length]
    for offset, weight in enumerate(weights[1:], start=1):
        out += weight * x[offset : offset + length]
    return out


def _cropped_pair(a: Picture, b: Picture, border: int, *, smallest: int) -> tuple[Floats, Floats]:
    """The Y channels of two comparable images, without their borders."""
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(
            f"cannot compare {_described(a)} with {_described(b)}: both must have one shape and "
            "one type"
        )
    if border < 0:
        raise ValueError(f"border is {border}; it must not be negative")
    y_a, y_b = _y_channel(a), _y_channel(b)
    height, width = y_a.shape
    if min(height, width) - 2 * border < smallest:
        raise ValueError(
            f"an image of {width}x{height} without a border of {border} is too small: "
            f"at least {smallest}x{smallest} must be left"
        )
    inside = (slice(border, height - border), slice(border, width - border))
    return y_a[inside], y_b[inside]


def _y_channel(picture: Picture) -> Floats:
    if picture.dtype != np.uint8:
        raise ValueError(f"{_described(picture)} is no 8-bit image: expected uint8")
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
    return luma(picture)


def _described(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _decibels(mse: float, *, peak: float) -> float:
    return math.inf if mse == 0 else -10 * math.log10(mse / peak**2)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a candidate is from a reference, value by value, range 0 to 1.

    It keeps sums, so that the differences of tiles :meth:`combine` into exactly the difference
    of everything they hold. Only values finite on both sides are *compared*; the others are
    counted, never averaged. When nothing could be compared, what needs a comparison is ``nan``.
    """

    count: int
    """Values looked at."""
    compared: int
    """Values finite on both sides."""
    non_finite: int
    """Infinities and NaNs in the candidate."""
    reference_non_finite: int
    """Infinities and NaNs in the reference."""
    largest: float
    """Largest absolute difference of the values compared; 0 when there are none."""
    sum_abs: float
    """Sum of the absolute differences."""
    sum_squares: float
    """Sum of the squared differences."""
    equal_in_8_bits: int
    """Values that are the same after rounding to 0..255."""
    off_by_one_in_8_bits: int
    """Values that are one step apart after rounding to 0..255."""

    @classmethod
    def combine(cls, differences: Iterable[Difference]) -> Self:
        """The difference over all values of several.

        Raises:
            ValueError: there are none.
        """
        parts = list(differences)
        if not parts:
            raise ValueError("no differences to combine: at least one is needed")
        return cls(
            count=sum(part.count for part in parts),
            compared=sum(part.compared for part in parts),
            non_finite=sum(part.non_finite for part in parts),
            reference_non_finite=sum(part.reference_non_finite for part in parts),
            largest=max(part.largest for part in parts),
            sum_abs=math.fsum(part.sum_abs for part in parts),
            sum_squares=math.fsum(part.sum_squares for part in parts),
            equal_in_8_bits=sum(part.equal_in_8_bits for part in parts),
            off_by_one_in_8_bits=sum(part.off_by_one_in_8_bits for part in parts),
        )

    @property
    def max_abs(self) -> float:
        """Largest absolute difference."""
        return self.largest if self.compared else math.nan

    @property
    def mean_abs(self) -> float:
        """Mean absolute difference."""
        return self._share(self.sum_abs)

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB, peak 1; ``inf`` when all values compared are equal."""
        mse = self._share(self.sum_squares)
        return mse if math.isnan(mse) else _decibels(mse, peak=1.0)

    @property
    def share_equal(self) -> float:
        """Share of the values compared that are the same in 8 bits."""
        return self._share(self.equal_in_8_bits)

    @property
    def share_off_by_one(self) -> float:
        """Share of the values compared that are one 8-bit step apart."""
        return self._share(self.off_by_one_in_8_bits)

    @property
    def share_off_by_more(self) -> float:
        """Share of the values compared that are more than one 8-bit step apart."""
        return self._share(self.compared - self.equal_in_8_bits - self.off_by_one_in_8_bits)

    def meets(self, min_psnr: float) -> bool:
        """Whether everything is finite on both sides and the PSNR is no less than ``min_psnr``."""
        return self.compared == self.count and self.psnr >= min_psnr

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures a report shows, as strict JSON: ``None`` for an infinite PSNR and for NaN."""
        figures: dict[str, float | int] = {
            "count": self.count,
            "compared": self.compared,
            "non_finite": self.non_finite,
            "reference_non_finite": self.reference_non_finite,
            "max_abs": self.max_abs,
            "mean_abs": self.mean_abs,
            "psnr": self.psnr,
            "share_equal": self.share_equal,
            "share_off_by_one": self.share_off_by_one,
            "share_off_by_more": self.share_off_by_more,
        }
        return {name: value if math.isfinite(value) else None for name, value in figures.items()}

    def _share(self, total: float) -> float:
        return total / self.compared if self.compared else math.nan


def compare(
    reference: npt.NDArray[np.floating[Any]], candidate: npt.NDArray[np.floating[Any]]
) -> Difference:
    """How far ``candidate`` is from ``reference``.

    Args:
        reference, candidate: arrays of the same shape, any layout, float16, float32 or float64
            (not necessarily the same), in the range 0 to 1. Values outside it count as they are,
            except in the 8-bit shares, which clip first.

    Returns:
        Figures computed in float64, a chunk at a time: no copy of the arrays is made.

    Raises:
        ValueError: the shapes differ, an array is not of floats, or there are no values.
    """
    for array in (reference, candidate):
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            raise ValueError(f"{_described(array)}: expected float16, float32 or float64")
    if reference.shape != candidate.shape:
        raise ValueError(
            f"cannot compare {_described(candidate)} with a reference of shape {reference.shape}"
        )
    if reference.size == 0:
        raise ValueError(f"nothing to compare in arrays of shape {reference.shape}")
    chunks = np.nditer(
        [reference, candidate],
        flags=["buffered", "external_loop"],
        op_dtypes=[np.dtype(np.float64)] * 2,
        buffersize=_CHUNK,
    )
    return Difference.combine(_compare_chunk(r, c) for r, c in chunks)


def _compare_chunk(reference: Floats, candidate: Floats) -> Difference:
    finite_reference, finite = np.isfinite(reference), np.isfinite(candidate)
    both = finite_reference & finite
    r, c = (reference, candidate) if both.all() else (reference[both], candidate[both])
    error = np.abs(c - r)
    steps = np.abs(_to_8_bits(c) - _to_8_bits(r))
    return Difference(
        count=reference.size,
        compared=r.size,
        non_finite=int(np.count_nonzero(~finite)),
        reference_non_finite=int(np.count_nonzero(~finite_reference)),
        largest=float(error.max(initial=0.0)),
        sum_abs=float(error.sum()),
        sum_squares=float(np.square(error).sum()),
        equal_in_8_bits=int(np.count_nonzero(steps == 0)),
        off_by_one_in_8_bits=int(np.count_nonzero(steps == 1)),
    )


def _to_8_bits(x: Floats) -> Floats:
    return np.rint(np.clip(x, 0.0, 1.0) * 255)
