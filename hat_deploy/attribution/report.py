"""From a checkpoint, a picture and a box to a map, its figures and a halo to use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hat_deploy.artifact.resolve import checkpoint_named
from hat_deploy.attribution import lam, spread
from hat_deploy.attribution.box import Box
from hat_deploy.attribution.spread import Beyond
from hat_deploy.engines.base import Array
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.geometry import check_tile, default_tile, round_up
from hat_deploy.images import samples
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.unstored import Unstored
from hat_deploy.verify.verification import facts

if TYPE_CHECKING:
    from torch import Tensor

AROUND = 64
"""Pixels looked at around the box, likewise."""
_ROUNDING = 1e-5
"""Far above what float32 makes of a flat picture, far below a step of 8 bits."""


@dataclass(frozen=True, kw_only=True)
class AttributeOptions(Unstored):
    """How far to look, and how finely."""

    around: int = AROUND
    """LR pixels on each side of the box; the piece is widened to whole windows."""
    tile: int | None = None
    """Side of the tiles that a halo is wanted for: only some halos fit. None takes 256, rounded
    up to the window."""
    steps: int = lam.STEPS
    """Of the path from the blurred picture to the picture."""
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributionReport:
    """What was found for one box."""

    picture: str
    reference: dict[str, Any]
    """The checkpoint: path, SHA-256 and bytes."""
    box: Box
    """In pixels of the picture."""
    rows: range
    columns: range
    """The piece of the picture that was looked at; the map's and all shares are of it."""
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
            text += f"; the box is too near to the picture's edge to tell on the {wanting[0]}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types; all lengths are in pixels of the picture."""
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


def attribute(
    reference: str | Path,
    picture: Path,
    box: Box,
    options: AttributeOptions,
    *,
    on_step: Callable[[int], None] = lambda step: None,
) -> AttributionReport:
    """Attribute the detail in a box of a picture to the picture's pixels.

    Args:
        reference: a checkpoint, or the name of a model that ships.
        picture: a low-resolution picture.
        box: in its pixels.
        on_step: told the number of each step.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        PictureError: the picture cannot be decoded.
        UsageError: there is no such checkpoint or device, the box is not in the picture, or the
            tile does not fit the network's window.
        CheckFailed: the picture is flat around the box, or the network gives
            values that are not finite.
    """
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("this PyTorch sees no CUDA device")
    checkpoint = checkpoint_named(reference)
    network = load_network(checkpoint.path, **options.given)
    config = network.config
    sample = samples.read(picture, config.in_channels)
    tile = options.tile or default_tile(config.window_size)[0]
    options = replace(options, tile=tile)
    check_tile((tile, tile), 0, config.window_size)
    box.require_inside(*sample.pixels.shape[:2])
    rows, columns = _piece(box, sample.pixels.shape[:2], options.around, config.window_size)
    pixels = sample.pixels[rows.start : rows.stop, columns.start : columns.stop]
    x = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255)).to(options.device)
    inner = box.moved(rows.start, columns.start)
    _require_detail(x)
    found = lam.attribute(
        network.freeze().to(options.device),
        x,
        inner,
        config.scale,
        steps=options.steps,
        on_step=on_step,
    )
    if not np.isfinite(found.map).all():
        raise CheckFailed(
            "the network gives values that are not finite: the checkpoint is damaged, or "
            "--img-range is not what it was trained with"
        )
    return AttributionReport(
        picture=sample.name,
        reference=facts(checkpoint),
        box=box,
        rows=rows,
        columns=columns,
        scale=config.scale,
        options=options,
        pixels=pixels,
        map=found.map,
        completeness=found.completeness,
        gini=spread.gini(found.map),
        shares=tuple(spread.by_halo(found.map, inner, tile, config.window_size)),
    )


def _piece(box: Box, size: tuple[int, int], around: int, window: int) -> tuple[range, range]:
    """Rows and columns to look at: windows fall where they fall in the whole picture."""
    spans = []
    for start, length, end in ((box.y, box.height, size[0]), (box.x, box.width, size[1])):
        first = max(0, start - around) // window * window
        spans.append(range(first, min(end, round_up(start + length + around, window))))
    return spans[0], spans[1]


def _require_detail(picture: Tensor) -> None:
    """Refuse a picture that blurring changes by no more than its own rounding."""
    if float((lam.blurred(picture, lam.SIGMA) - picture).abs().max()) < _ROUNDING:
        raise CheckFailed(
            "there is nothing to attribute: the picture is flat around the box, and blurring "
            "leaves it as it is; choose a box with edges or texture"
        )
