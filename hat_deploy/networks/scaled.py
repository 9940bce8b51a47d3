"""Layers in half precision whose very large weights do not overflow."""

from __future__ import annotations

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

WIDEST_ROW = 16.0
"""Largest norm of an output's weights that is left as it is: an output is of the order of this
norm times its inputs', so fp16 keeps a factor of 4000 in hand."""


class Scaled(nn.Module):
    """A half-precision layer whose results are multiplied by powers of two in fp32.

    Each row of the layer's weights is divided by its own, which is exact, so that its result
    stays far from fp16's largest number, and other rows lose no digits by it. What the layer
    computes is rounded to half all the same: a row 1000 times as large has 1000 times the error.
    """

    factor: Tensor

    def __init__(self, layer: nn.Linear | nn.Conv2d, factors: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("factor", beside_channels(layer, factors), persistent=False)

    @property
    def weight(self) -> Tensor:
        """The layer's, whose dtype is what the input is cast to."""
        return self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        """As the layer, in fp32."""
        y: Tensor = self.layer(x).float() * self.factor
        return y


def factors_of(layer: nn.Linear | nn.Conv2d) -> Tensor | None:
    """For each row of the layer the power of two that brings it down to ``WIDEST_ROW``, (rows,).

    1 for rows that need none; None where no row needs any, as mostly.
    """
    norms = layer.weight.flatten(1).norm(dim=1)
    wide = (norms > WIDEST_ROW) & norms.isfinite()
    if not wide.any():
        return None
    return torch.where(wide, torch.exp2(torch.ceil(torch.log2(norms / WIDEST_ROW))), 1.0)


def beside_channels(layer: nn.Linear | nn.Conv2d, factors: Tensor) -> Tensor:
    """(rows,) in the shape that multiplies the layer's result channel by channel."""
    return factors[:, None, None] if isinstance(layer, nn.Conv2d) else factors


def divide_rows(layer: nn.Linear | nn.Conv2d, factors: Tensor) -> None:
    """Divide each row of a layer's weights, and its bias, by its own factor."""
    layer.weight.div_(factors.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    if layer.bias is not None:
        layer.bias.div_(factors)
