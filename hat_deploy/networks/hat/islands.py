"""A HAT in half precision that neither overflows nor drifts.

``fp16`` and ``bf16`` are mixed. In half: the matrix products of attention and MLPs, the
convolutions of CAB and the one after the body; each reads what a LayerNorm has just
normalised, or a product of it. In fp32: the residual stream, which grows past fp16's 65504 in
trained window transformers; every LayerNorm; the convolution that closes each RHAG and the
reconstruction, which read sums of the stream; the gate of channel attention, an average of
whole maps. ``fp16-pure`` is half throughout, for those who know their network's range.

The casts are where :func:`hat_deploy.networks.hat.blocks.entering` finds a layer of another dtype.
The module that PyTorch runs in half is thus the very module that is traced for ONNX, and a
strongly typed TensorRT network computes as it says.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.networks.hat.blocks import CAB, MLP, Attention
from hat_deploy.networks.network import Network
from hat_deploy.precision import Precision

_N = TypeVar("_N", bound=Network)

WIDEST_ROW = 16.0
"""Largest norm of an output's weights that is left as it is: an output is of the order of this
norm times its inputs', so fp16 keeps a factor of 4000 in hand."""


def convert(network: _N, precision: str) -> _N:
    """The network in the given precision; a frozen copy, but the network itself for ``fp32``.

    Args:
        network: float32, with weights loaded. It is frozen in place, otherwise left alone.
        precision: the name of a :class:`~hat_deploy.precision.Precision`.
    """
    network.freeze()
    if precision == Precision.FP32:
        return network
    dtype: torch.dtype = getattr(torch, Precision.of(precision).dtype)
    network = copy.deepcopy(network)
    if precision == Precision.FP16_PURE:
        return network.to(dtype)
    for module in network.modules():
        if isinstance(module, Attention):
            assert module.frozen is not None
            module.frozen = module.frozen.to(dtype)
    network.register_buffer(
        "edge_masks", network.get_buffer("edge_masks").to(dtype), persistent=False
    )
    for holder, name, summed in list(halved(network)):
        layer = getattr(holder, name)
        factors = factors_of(layer) if summed and dtype == torch.float16 else None
        if factors is not None:
            _divide_rows(layer, factors)
            setattr(holder, name, Scaled(layer, factors))
        layer.to(dtype)
    return network


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


def halved(network: nn.Module) -> Iterator[tuple[nn.Module, str, bool]]:
    """The layers that compute in half: the module that holds each, its name there, and whether
    its result goes straight to a sum in fp32."""
    for module in network.modules():
        if isinstance(module, Attention):
            yield from ((module, "qkv", False), (module, "proj", True))
        elif isinstance(module, MLP):
            yield from ((module, "fc1", False), (module, "fc2", True))
        elif isinstance(module, CAB):
            yield from ((module.cab, "0", False), (module.cab, "2", True))
    if isinstance(getattr(network, "conv_after_body", None), nn.Conv2d):
        yield network, "conv_after_body", True


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


def _divide_rows(layer: nn.Linear | nn.Conv2d, factors: Tensor) -> None:
    layer.weight.div_(factors.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    if layer.bias is not None:
        layer.bias.div_(factors)
