"""What the checkpoints of a HAT hold, and how the authors write them."""

from __future__ import annotations

from hat_deploy.errors import needed_for

with needed_for("Reading a checkpoint"):
    from torch import Tensor

from hat_deploy.networks import buffers, windows
from hat_deploy.networks.architecture import Architecture
from hat_deploy.networks.hat.config import NAME, HATConfig
from hat_deploy.networks.hat.detection import ESSENTIAL, OWN, claims, detect_config
from hat_deploy.networks.hat.network import HAT


def _stored(network: HAT) -> dict[str, Tensor]:
    """The weights with the index buffers of the authors' implementation."""
    config = network.config
    state_dict = buffers.on_cpu(network)
    state_dict["relative_position_index_SA"] = windows.relative_position_index(config.window_size)
    if config.overlap_size:
        state_dict["relative_position_index_OCA"] = windows.overlapping_position_offset(
            config.window_size, config.overlap_size
        )
    return state_dict


ARCHITECTURE = Architecture[HATConfig, HAT](
    name=NAME,
    looked_for=ESSENTIAL + OWN,
    claims=claims,
    detect=detect_config,
    build=HAT,
    is_derived=buffers.is_derived,
    stored=_stored,
)
