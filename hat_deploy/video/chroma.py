"""Chroma planes at the size of luma, and back, by linear interpolation at the right places.

Where a chroma sample lies between luma samples is its siting: on the first of its luma samples
(co-sited), or in the middle of them (centred).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Siting:
    """Where chroma samples lie, across and down: True in the middle, False on the first."""

    across: bool
    down: bool


LEFT = Siting(across=False, down=True)
"""MPEG-2, H.264 and all who followed."""
CENTRE = Siting(across=True, down=True)
"""JPEG, MPEG-1, H.263."""
TOP_LEFT = Siting(across=False, down=False)
"""BT.2020 and BT.2100."""


def enlarge(
    plane: npt.NDArray[Any], factor: int, length: int, axis: int, *, centred: bool
) -> Floats:
    """A plane with ``factor`` times the samples along an axis, cut to ``length``.

    Args:
        plane: (H, W), any numeric type.
        centred: whether its samples lie in the middle of those they stand for.
    """
    samples: Floats = plane.astype(np.float64)
    if factor == 1:
        return samples
    samples = np.moveaxis(samples, axis, 0)
    around = np.concatenate([samples[:1], samples, samples[-1:]])
    count = len(samples)
    result = np.empty((count * factor, *samples.shape[1:]))
    for phase in range(factor):
        place = (phase - _offset(factor, centred=centred)) / factor
        first = int(np.floor(place))
        share = place - first
        low, high = (around[1 + at : 1 + at + count] for at in (first, first + 1))
        result[phase::factor] = (1 - share) * low + share * high if share else low
    return np.moveaxis(result[:length], 0, axis)


def reduce(plane: Floats, factor: int, axis: int, *, centred: bool) -> Floats:
    """A plane with ``factor`` times fewer samples along an axis, rounded up.

    Each is the average of those around it with the weights that :func:`enlarge` gives it.
    """
    if factor == 1:
        return plane
    samples = np.moveaxis(plane, axis, 0)
    count = -(-len(samples) // factor)
    offset = _offset(factor, centred=centred)
    reach = np.arange(int(np.ceil(offset - factor)), int(np.floor(offset + factor)) + 1)
    weights = np.maximum(0.0, 1 - np.abs(reach - offset) / factor) / factor
    before = -int(reach[0])
    after = (count - 1) * factor + int(reach[-1]) + 1 - len(samples)
    around = np.concatenate(
        [np.repeat(samples[:1], before, 0), samples, np.repeat(samples[-1:], max(0, after), 0)]
    )
    result = np.zeros((count, *samples.shape[1:]))
    for at, weight in zip(reach + before, weights, strict=True):
        if weight:
            result += weight * around[at : at + (count - 1) * factor + 1 : factor]
    return np.moveaxis(result, 0, axis)


def _offset(factor: int, *, centred: bool) -> float:
    """Where a chroma sample lies, in luma samples from the first that it stands for."""
    return (factor - 1) / 2 if centred else 0.0
