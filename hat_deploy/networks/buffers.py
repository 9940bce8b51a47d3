"""The buffers that checkpoints of window transformers hold and that follow from the config."""

from __future__ import annotations

import re

from hat_deploy.errors import needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor, nn

from hat_deploy.networks.shape import Shape

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of DIV2K, subtracted from RGB input: not in the papers, but in the authors' code, and in
BasicSR's EDSR, which says where it is from."""

_DERIVED = re.compile(r"(^|\.)(relative_position_index(_SA|_OCA)?|attn_mask|n_averaged)$")
"""Buffers that follow from the config, or count training steps."""


def mean_of(channels: int) -> tuple[float, ...]:
    """What is subtracted from each channel of the input: nothing, unless it is RGB."""
    return RGB_MEAN if channels == 3 else (0.0,) * channels


def is_derived(name: str, tensor: Tensor, shape: Shape) -> bool:
    """Whether a tensor is one that the shape implies; a mean must then be the known one."""
    if name == "mean":
        mean = torch.tensor(mean_of(shape.channels))
        same = tensor.is_floating_point() and tensor.numel() == mean.numel()
        return same and torch.allclose(tensor.flatten(), mean)
    return _DERIVED.search(name) is not None


def on_cpu(network: nn.Module) -> dict[str, Tensor]:
    """A network's weights, copied."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
