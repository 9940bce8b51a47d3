"""What the checkpoints of a SwinIR hold, and how the authors write them."""

from __future__ import annotations

from hat_deploy.errors import needed_for

with needed_for("Reading a checkpoint"):
    from torch import Tensor

from hat_deploy.networks import buffers, windows
from hat_deploy.networks.architecture import Architecture
from hat_deploy.networks.swinir.config import NAME, SwinIRConfig
from hat_deploy.networks.swinir.detection import ESSENTIAL, claims, detect_config
from hat_deploy.networks.swinir.network import SwinIR

_ACROSS = 8
"""Windows across the training patches whose masks are written: 64 of 8, as mostly published."""


def _stored(network: SwinIR) -> dict[str, Tensor]:
    """The weights with the index and mask buffers of the authors' implementation."""
    config = network.config
    state_dict = buffers.on_cpu(network)
    index = windows.relative_position_index(config.window_size)
    mask = windows.shifted_masks(config.window_size, config.window_size // 2, _ACROSS)
    for group, depth in enumerate(config.depths):
        for block in range(depth):
            prefix = f"layers.{group}.residual_group.blocks.{block}."
            state_dict[prefix + "attn.relative_position_index"] = index.clone()
            if block % 2 and config.shift:
                state_dict[prefix + "attn_mask"] = mask.clone()
    return state_dict


ARCHITECTURE = Architecture[SwinIRConfig, SwinIR](
    name=NAME,
    looked_for=ESSENTIAL,
    claims=claims,
    detect=detect_config,
    build=SwinIR,
    is_derived=buffers.is_derived,
    stored=_stored,
)
