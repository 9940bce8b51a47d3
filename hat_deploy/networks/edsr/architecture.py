"""What the checkpoints of an EDSR hold, and how the authors write them."""

from __future__ import annotations

import math
import re

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.networks import buffers, sizes
from hat_deploy.networks.architecture import Architecture
from hat_deploy.networks.edsr.config import NAME, EDSRConfig, published_conv_scale
from hat_deploy.networks.edsr.network import EDSR
from hat_deploy.networks.limits import check_network
from hat_deploy.networks.shape import Shape
from hat_deploy.networks.sizes import StateDict

_FIRST, _LAST = "head.0.weight", "tail.1.weight"
_ESSENTIAL = (_FIRST, "body.0.body.0.weight", "body.0.body.2.weight", _LAST)
_BLOCK = re.compile(r"body\.([0-9]+)\.body\.0\.weight")
_MEANS = {"sub_mean": -1, "add_mean": 1}
"""Convolutions of 1x1 that the authors store: the sign of the mean that each adds."""
_KINDS = "weight", "bias"


def _claims(state_dict: StateDict) -> bool:
    return all(name in state_dict for name in _ESSENTIAL)


def _detect(state_dict: StateDict) -> EDSRConfig:
    """Read an EDSR's config off its weights.

    Raises:
        CheckpointError: the weights describe no EDSR.
    """
    features, _, *_ = sizes.dimensions_of(state_dict, _FIRST, 4)
    blocks = sum(_BLOCK.fullmatch(name) is not None for name in state_dict)
    try:
        config = EDSRConfig(
            scale=sizes.upsampler_scale(state_dict, "tail.0"),
            features=features,
            blocks=blocks,
            conv_scale=published_conv_scale(features),
            img_range=_img_range(state_dict),
        )
        check_network(config)
    except ValueError as error:
        raise CheckpointError(f"the weights describe no EDSR: {error}") from error
    return config


def _img_range(state_dict: StateDict) -> float:
    """What ``sub_mean`` subtracts, in units of the known mean; 255 where nothing says."""
    bias = state_dict.get("sub_mean.bias")
    if bias is None or bias.numel() != len(buffers.RGB_MEAN):
        return 255.0
    found = float(-bias.double().mean() / (sum(buffers.RGB_MEAN) / len(buffers.RGB_MEAN)))
    return float(round(found)) if math.isfinite(found) and round(found) > 0 else 255.0


def _is_derived(name: str, tensor: Tensor, shape: Shape) -> bool:
    """Whether it is one of the two fixed convolutions around the network, as we compute them."""
    module, _, kind = name.rpartition(".")
    if module not in _MEANS or kind not in _KINDS or not isinstance(shape, EDSRConfig):
        return False
    expected = _fixed(module, kind, shape)
    same = tensor.is_floating_point() and tensor.shape == expected.shape
    return same and torch.allclose(tensor.float(), expected, rtol=1e-2)  # as half rounds 255


def _fixed(module: str, kind: str, config: EDSRConfig) -> Tensor:
    if kind == "weight":
        return torch.eye(3).reshape(3, 3, 1, 1)
    return torch.tensor(buffers.RGB_MEAN) * (_MEANS[module] * config.img_range)


def _stored(network: EDSR) -> dict[str, Tensor]:
    """The weights with the two fixed convolutions."""
    state_dict = buffers.on_cpu(network)
    for module in _MEANS:
        for kind in _KINDS:
            state_dict[f"{module}.{kind}"] = _fixed(module, kind, network.config)
    return state_dict


ARCHITECTURE = Architecture[EDSRConfig, EDSR](
    name=NAME,
    looked_for=_ESSENTIAL,
    claims=_claims,
    detect=_detect,
    build=EDSR,
    is_derived=_is_derived,
    stored=_stored,
)
