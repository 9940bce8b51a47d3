"""Local Attribution Maps: integrated gradients along a path of blur.

J. Gu and C. Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021
(arXiv 2011.11036). What is explained is not a pixel's value but the presence of detail: the sum
of gradient magnitudes in a patch of the result. The path goes from the image blurred by a
Gaussian of sigma 1.2 to the image itself, the blur growing less in equal steps; along it

    attribution_i = integral over a of  dD(F(path(a))) / dx_i  *  d path(a)_i / da

is summed up in 50 steps. The gradient is taken in the middle of each step, so that all
attributions together are very nearly what the whole path changes the detector by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hat_deploy.errors import needed_for

with needed_for("Attributing detail to pixels"):
    import torch
    from torch import Tensor, nn

from hat_deploy.attribution.box import Box
from hat_deploy.engines.base import Array
from hat_deploy.geometry import reflect_indices

SIGMA = 1.2
"""Of the Gaussian that blurs the baseline, in LR pixels, as the authors have it."""
STEPS = 50
"""Of the path, as the authors have it."""
_RADIUS = 4
"""Of the Gaussian's window, 9x9 as the authors'."""

OnStep = Callable[[int], None]
"""Told the number of each step when it is done, from 1 up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """What each pixel of the input adds to the detail in the box."""

    values: Array
    """(C, H, W) float64; signed."""
    start: float
    """The detector on the result of the blurred image."""
    end: float
    """The detector on the result of the image."""

    @property
    def map(self) -> Array:
        """(H, W) float64: the magnitude of the sum over the channels, as the authors' code has it.

        Attributions of opposite signs in one pixel cancel.
        """
        return np.asarray(np.abs(self.values.sum(axis=0)))

    @property
    def completeness(self) -> float:
        """The sum of all attributions over what the detector rose by; 1 for an exact integral."""
        rise = self.end - self.start
        return float(self.values.sum()) / rise if rise else math.nan


def attribute(
    network: nn.Module,
    picture: Tensor,
    box: Box,
    scale: int,
    *,
    steps: int = STEPS,
    sigma: float = SIGMA,
    on_step: OnStep = lambda step: None,
) -> Attribution:
    """Attribute the detail that a network puts into a box to the pixels of its input.

    Args:
        network: takes (1, C, H, W) in [0, 1] and returns (1, C, scale * H, scale * W);
            differentiable. Its weights' gradients are not computed if they are frozen.
        picture: (1, C, H, W) float32 in [0, 1], on the network's device.
        box: of the image, in LR pixels; the patch of the result is ``scale`` times as large.
        steps: of the path, at least 1.
        sigma: of the baseline's blur, in LR pixels.

    Raises:
        ValueError: there are no steps, or the box is not inside the image.
    """
    height, width = picture.shape[-2:]
    if steps < 1:
        raise ValueError(f"{steps} steps: at least 1 is needed")
    if not (0 <= box.x < box.x + box.width <= width and 0 <= box.y < box.y + box.height <= height):
        raise ValueError(f"{box} is not inside an image of {width}x{height}")
    total = torch.zeros_like(picture, dtype=torch.float64)
    for number, (middle, move) in enumerate(_path(picture, steps, sigma), 1):
        x = middle.requires_grad_()
        (gradient,) = torch.autograd.grad(detail(network(x), box, scale), x)
        total += gradient.double() * move.double()
        on_step(number)
    with torch.no_grad():
        start = detail(network(blurred(picture, sigma)), box, scale)
        end = detail(network(picture), box, scale)
    return Attribution(values=total[0].cpu().numpy(), start=float(start), end=float(end))


def detail(result: Tensor, box: Box, scale: int) -> Tensor:
    """The detector: the sum of gradient magnitudes in the patch, over all channels.

    The gradient of a pixel is the differences to its right and to its lower neighbour; what
    has none at the edge of the image is left out.
    """
    down = (result[..., 1:, :] - result[..., :-1, :])[..., :-1]
    right = (result[..., :, 1:] - result[..., :, :-1])[..., :-1, :]
    rows = slice(box.y * scale, (box.y + box.height) * scale)
    columns = slice(box.x * scale, (box.x + box.width) * scale)
    squares = (down.square() + right.square())[..., rows, columns]
    # The root has no derivative at 0; this is far below what 8 bits can tell apart.
    return (squares + 1e-12).sqrt().sum()


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """Convolved with a Gaussian of 9x9, the edges continued by reflection.

    Args:
        picture: (1, C, H, W).
        sigma: in pixels; 0 leaves the image as it is.
    """
    if sigma <= 0:
        return picture.clone()
    places = torch.arange(-_RADIUS, _RADIUS + 1, dtype=picture.dtype, device=picture.device)
    weights = torch.exp(-places.square() / (2 * sigma**2))
    weights /= weights.sum()
    for axis in (-2, -1):
        picture = _along(picture, weights, axis)
    return picture


def _along(picture: Tensor, weights: Tensor, axis: int) -> Tensor:
    length = picture.shape[axis]
    out = torch.zeros_like(picture)
    indices = reflect_indices(length, range(length + _RADIUS))
    for offset, weight in enumerate(weights, start=-_RADIUS):
        # Reflection is even: a place before the first is its mirror image after it.
        index = [indices[abs(place + offset)] for place in range(length)]
        out += weight * picture.index_select(axis, torch.tensor(index, device=picture.device))
    return out


def _path(picture: Tensor, steps: int, sigma: float) -> Iterator[tuple[Tensor, Tensor]]:
    """For each step the image in its middle, and what it changes the image by."""
    before = blurred(picture, sigma)
    for step in range(steps):
        after = blurred(picture, sigma * (1 - (step + 1) / steps))
        yield blurred(picture, sigma * (1 - (step + 0.5) / steps)), after - before
        before = after
