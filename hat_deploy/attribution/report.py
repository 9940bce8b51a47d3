"""What was found for one box: a map, its figures and a halo to use."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from hat_deploy.attribution import lam, spread
from hat_deploy.attribution.box import Box
from hat_deploy.attribution.spread import Beyond
from hat_deploy.engines.base import Array
from hat_deploy.networks.unstored import Unstored

AROUND = 64
"""LR pixels looked at on each side of the box, by default."""


@dataclass(frozen=True, kw_only=True)
class AttributeOptions(Unstored):
    """How far to look, and how finely."""

    around: int = AROUND
    """LR pixels on each side of the box; the piece is widened to whole windows."""
    tile: int | None = None
    """Side of the tiles that a halo is wanted for: only some halos fit. None takes 256, rounded
    up to the window."""
    steps: int = lam.STEPS
    """Of the path from the blurred image to the image."""
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributionReport:
    """What was found for one box."""

    picture: str
    reference: dict[str, Any]
    """The checkpoint: path, SHA-256 and bytes."""
    box: Box
    """In pixels of the image."""
    rows: range
    columns: range
    """The piece of the image that was looked at; the map's and all shares are of it."""
    scale: int
    options: AttributeOptions
    pixels: Array
    """The piece: (H, W, C) uint8."""
    map: Array
    """(H, W) float64, not negative."""
    completeness: float
    """Sum of the attributions over the rise of the detector: 1 if the path was fine enough."""
    gini: float
    shares: tuple[Beyond, ...]
    """By fitting halo, ascending."""

    @property
    def inner_box(self) -> Box:
        """The box in the piece."""
        return self.box.moved(self.rows.start, self.columns.start)

    @property
    def diffusion_index(self) -> float:
        """(1 - Gini) x 100: the larger, the more pixels take part."""
        return (1 - self.gini) * 100

    @property
    def advised_halo(self) -> int | None:
        """The narrowest fitting halo that leaves less than 1 % beyond it on every side."""
        return spread.advised(list(self.shares))

    @property
    def room(self) -> dict[str, int]:
        """Pixels of the piece beside the box, by side: further out nothing was looked at."""
        box, (height, width) = self.inner_box, self.map.shape
        beside = (box.x, box.y, width - box.x - box.width, height - box.y - box.height)
        return dict(zip(spread.SIDES, beside, strict=True))

    @property
    def advice(self) -> str:
        """Which halo to use, in a sentence or two."""
        halo = self.advised_halo
        if halo is None:
            text = (
                f"more than {spread.ALLOWED:.0%} of the attribution lies beyond every halo looked "
                f"at: give an --around larger than {self.options.around}"
            )
        else:
            found = next(beyond for beyond in self.shares if beyond.halo == halo)
            worst = max(found.sides, key=lambda side: found.sides[side])
            text = (
                f"use a halo of {halo} for tiles of {self.options.tile}: {found.sides[worst]:.2%} "
                f"lies beyond it on the {worst}, where most does"
            )
        wanting = [side for side, pixels in self.room.items() if pixels < (halo or 1)]
        if wanting:
            text += f"; the box is too near to the image's edge to tell on the {wanting[0]}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types; all lengths are in pixels of the image."""
        return {
            "picture": self.picture,
            "reference": self.reference,
            "box": asdict(self.box),
            "looked_at": {
                "x": self.columns.start,
                "y": self.rows.start,
                "width": len(self.columns),
                "height": len(self.rows),
            },
            "room": self.room,
            "scale": self.scale,
            "settings": asdict(self.options) | {"sigma": lam.SIGMA},
            "diffusion_index": self.diffusion_index,
            "gini": self.gini,
            "completeness": self.completeness if math.isfinite(self.completeness) else None,
            "beyond": [asdict(share) for share in self.shares],
            "allowed": spread.ALLOWED,
            "advised_halo": self.advised_halo,
            "advice": self.advice,
        }
