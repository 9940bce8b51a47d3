"""From a checkpoint, an image and a box to a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.artifact.resolve import checkpoint_named
from hat_deploy.attribution import lam, spread
from hat_deploy.attribution.box import Box
from hat_deploy.attribution.report import AttributeOptions, AttributionReport
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.geometry import check_tile, default_tile, round_up
from hat_deploy.images import samples
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.verify.verification import facts

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-5
"""Far above what float32 makes of a flat image, far below a step of 8 bits."""


def attribute(
    reference: str | Path,
    picture: Path,
    box: Box,
    options: AttributeOptions,
    *,
    on_step: Callable[[int], None] = lambda step: None,
) -> AttributionReport:
    """Attribute the detail in a box of an image to the image's pixels.

    Args:
        reference: a checkpoint, or the name of a model that ships.
        picture: a low-resolution image.
        box: in its pixels.
        on_step: told the number of each step.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        PictureError: the image cannot be decoded.
        UsageError: there is no such checkpoint or device, the box is not in the image, or the
            tile does not fit the network's window.
        CheckFailed: the image is flat around the box, or the network gives
            values that are not finite.
    """
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("this PyTorch sees no CUDA device")
    checkpoint = checkpoint_named(reference)
    network = load_network(checkpoint.path, **options.given)
    config = network.config
    sample = samples.read(picture, config.channels)
    tile = options.tile or default_tile(config.window)[0]
    options = replace(options, tile=tile)
    check_tile((tile, tile), 0, config.window)
    box.require_inside(*sample.pixels.shape[:2])
    rows, columns = _piece(box, sample.pixels.shape[:2], options.around, config.window)
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
        shares=tuple(spread.by_halo(found.map, inner, tile, config.window)),
    )


def _piece(box: Box, size: tuple[int, int], around: int, window: int) -> tuple[range, range]:
    """Rows and columns to look at: windows fall where they fall in the whole image."""
    spans = []
    for start, length, end in ((box.y, box.height, size[0]), (box.x, box.width, size[1])):
        first = max(0, start - around) // window * window
        spans.append(range(first, min(end, round_up(start + length + around, window))))
    return spans[0], spans[1]


def _require_detail(picture: Tensor) -> None:
    """Refuse an image that blurring changes by no more than its own rounding."""
    if float((lam.blurred(picture, lam.SIGMA) - picture).abs().max()) < _ROUNDING:
        raise CheckFailed(
            "there is nothing to attribute: the image is flat around the box, and blurring "
            "leaves it as it is; choose a box with edges or texture"
        )
