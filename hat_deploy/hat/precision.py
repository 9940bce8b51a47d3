"""A network in half precision that neither overflows nor drifts, and the form it is deployed in.

``fp16`` and ``bf16`` are mixed. In half: the matrix products of attention and MLPs, the
convolutions of CAB and the one after the body; each reads what a LayerNorm has just
normalised, or a product of it. In fp32: the residual stream, which grows past fp16's 65504 in
trained window transformers; every LayerNorm; the convolution that closes each RHAG and the
reconstruction, which read sums of the stream; the gate of channel attention, an average of
whole maps. ``fp16-pure`` is half throughout, for those who know their network's range.

The casts are where :func:`hat_deploy.hat.network.entering` finds a layer of another dtype.
The module that PyTorch runs in half is thus the very module that is traced for ONNX, and a
strongly typed TensorRT network computes as it says.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.hat.network import CAB, HAT, MLP, PositionBias

DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp16-pure": torch.float16,
}
"""What each precision computes its matrix products in."""
WIDEST_ROW = 16.0
"""Largest norm of an output's weights that is left as it is: an output is of the order of this
norm times its inputs', so fp16 keeps a factor of 4000 in hand."""


def convert(network: HAT, precision: str) -> HAT:
    """The network in the given precision; a frozen copy, but the network itself for ``fp32``.

    Args:
        network: float32, with weights loaded. It is frozen in place, otherwise left alone.
        precision: a key of :data:`DTYPES`.
    """
    network.freeze()
    if precision == "fp32":
        return network
    dtype = DTYPES[precision]
    network = copy.deepcopy(network)
    if precision == "fp16-pure":
        return network.to(dtype)
    for module in network.modules():
        if isinstance(module, PositionBias):
            assert module.frozen is not None
            module.frozen = module.frozen.to(dtype)
    network.edge_masks = network.edge_masks.to(dtype)
    for holder, name, summed in list(halved(network)):
        layer = getattr(holder, name)
        exponent = exponent_of(layer) if summed and dtype == torch.float16 else 0
        _divide(layer, 2.0**exponent)
        layer.to(dtype)
        if exponent:
            setattr(holder, name, Scaled(layer, exponent))
    return network


class Scaled(nn.Module):
    """A half-precision layer whose result is multiplied by a power of two in fp32.

    The layer's weights are divided by it, which is exact, so that its own result stays far
    from fp16's largest number.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, exponent: int) -> None:
        super().__init__()
        self.layer = layer
        self.factor = 2.0**exponent

    @property
    def weight(self) -> Tensor:
        """The layer's, whose dtype is what the input is cast to."""
        return self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        """As the layer, in fp32."""
        y: Tensor = self.layer(x).float() * self.factor
        return y


class Deployed(nn.Module):
    """A network with the input and output of an artifact.

    Args:
        network: of any precision.
        io: ``float``: (B, C, H, W) float32 in [0, 1] to (B, C, sH, sW) float32, not clamped.
            ``uint8``: (B, H, W, C) bytes to (B, sH, sW, C) bytes, clamped and rounded half to
            even, which equals rounding the float result outside.
    """

    def __init__(self, network: HAT, io: str) -> None:
        super().__init__()
        self.network = network
        self.io = io
        self.dtype = network.mean.dtype

    def forward(self, x: Tensor) -> Tensor:
        """One batch; the first and the last thing done to bytes is a cast, as TensorRT asks."""
        if self.io == "uint8":
            x = x.float().permute(0, 3, 1, 2) / 255.0
        y: Tensor = self.network(x if x.dtype == self.dtype else x.to(self.dtype))
        if y.dtype != torch.float32:
            y = y.float()
        if self.io == "uint8":
            y = torch.round(y.clamp(0.0, 1.0) * 255.0).permute(0, 2, 3, 1).to(torch.uint8)
        return y


def halved(network: HAT) -> Iterator[tuple[nn.Module, str, bool]]:
    """The layers that compute in half: the module that holds each, its name there, and whether
    its result goes straight to a sum in fp32."""
    for module in network.modules():
        if isinstance(module, PositionBias):
            yield from ((module, "qkv", False), (module, "proj", True))
        elif isinstance(module, MLP):
            yield from ((module, "fc1", False), (module, "fc2", True))
        elif isinstance(module, CAB):
            yield from ((module.cab, "0", False), (module.cab, "2", True))
    if isinstance(network.conv_after_body, nn.Conv2d):
        yield network, "conv_after_body", True


def exponent_of(layer: nn.Linear | nn.Conv2d) -> int:
    """The power of two that brings the layer's widest row down to ``WIDEST_ROW``; 0 mostly."""
    widest = float(layer.weight.flatten(1).norm(dim=1).max())
    return math.ceil(math.log2(widest / WIDEST_ROW)) if WIDEST_ROW < widest < math.inf else 0


def _divide(layer: nn.Module, factor: float) -> None:
    for parameter in layer.parameters():
        parameter.div_(factor)
