"""What an attribution map says in numbers: how spread out it is, and how far it reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hat_deploy.attribution.box import Box
from hat_deploy.engines.base import Array
from hat_deploy.geometry import halos

ALLOWED = 0.01
"""Share of the attribution that may lie beyond a halo."""
SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """How much of all attribution lies further from the box than a halo is wide."""

    halo: int
    """In LR pixels."""
    share: float
    """In any direction, 0 to 1."""
    sides: dict[str, float]
    """By side; a corner counts for both of its sides, so these may add up to more."""

    @property
    def enough(self) -> bool:
        """Whether no side leaves out more than ``ALLOWED``."""
        return max(self.sides.values()) < ALLOWED


def gini(values: Array) -> float:
    """The Gini coefficient: 0 if all are equal, (n - 1) / n if one has everything.

    G = sum_ij |g_i - g_j| / (2 n^2 mean(g)), computed from the sorted values.

    Args:
        values: not negative, of any shape.

    Raises:
        ValueError: there are none, one is negative, or all are 0.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    if not ordered.size or ordered[0] < 0 or ordered[-1] <= 0:
        raise ValueError("a Gini coefficient takes values that are not negative, and not all 0")
    count = ordered.size
    weights = 2 * np.arange(1, count + 1) - count - 1
    return float((weights * ordered).sum() / (count * ordered.sum()))


def beyond(found: Array, box: Box, halo: int) -> Beyond:
    """The share of a map that lies beyond a halo around the box.

    Args:
        found: (H, W), not negative, not all 0.
        box: inside of it.
        halo: in the same pixels.
    """
    total = float(found.sum())
    left, top = max(0, box.x - halo), max(0, box.y - halo)
    right, bottom = box.x + box.width + halo, box.y + box.height + halo
    outside = {
        "left": found[:, :left],
        "top": found[:top],
        "right": found[:, right:],
        "bottom": found[bottom:],
    }
    return Beyond(
        halo=halo,
        share=max(0.0, 1 - float(found[top:bottom, left:right].sum()) / total),
        sides={name: float(part.sum()) / total for name, part in outside.items()},
    )


def by_halo(found: Array, box: Box, tile: int, window: int) -> list[Beyond]:
    """For each halo that fits a tile, ascending; as far as the map reaches on any side."""
    height, width = found.shape
    reach = max(box.x, box.y, width - box.x - box.width, height - box.y - box.height)
    return [beyond(found, box, halo) for halo in halos(tile, window) if halo <= reach]


def advised(shares: list[Beyond]) -> int | None:
    """The narrowest halo that leaves less than ``ALLOWED`` beyond it on every side, if any."""
    return next((found.halo for found in shares if found.enough), None)
