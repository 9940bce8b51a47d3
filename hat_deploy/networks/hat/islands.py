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
    from torch import nn

from hat_deploy.networks.hat.blocks import CAB, MLP, Attention
from hat_deploy.networks.hat.sparse import FRFN, SparseOCAB
from hat_deploy.networks.network import Network
from hat_deploy.networks.scaled import Scaled, divide_rows, factors_of
from hat_deploy.precision import Precision

_N = TypeVar("_N", bound=Network)


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
            divide_rows(layer, factors)
            setattr(holder, name, Scaled(layer, factors))
        layer.to(dtype)
    return network


def halved(network: nn.Module) -> Iterator[tuple[nn.Module, str, bool]]:
    """The layers that compute in half: the module that holds each, its name there, and whether
    its result goes straight to a sum in fp32."""
    for module in network.modules():
        if isinstance(module, Attention):
            yield module, "qkv", False
            if not isinstance(module, SparseOCAB):  # whose proj takes sums without a limit
                yield module, "proj", True
        elif isinstance(module, FRFN):
            yield from ((module, "partial_conv3", False), (module.linear1, "0", False))
            yield from ((module.dwconv, "0", False), (module, "gated", False))
            yield module.linear2, "0", True
        elif isinstance(module, MLP):
            yield from ((module, "fc1", False), (module, "fc2", True))
        elif isinstance(module, CAB):
            yield from ((module.cab, "0", False), (module.cab, "2", True))
    last = getattr(network, "conv_after_body", None)
    if isinstance(last, nn.Conv2d):
        yield network, "conv_after_body", True
    elif isinstance(last, nn.Sequential):
        yield from ((last, "0", False), (last, "2", False), (last, "4", True))
