"""Whether the values that a checkpoint does not store are right, judged by the network's results.

A super-resolution network's result, shrunk again, is nearly the image it was made from. With a
wrong ``img_range`` or ``conv_scale`` it differs more, in mean and in range. How much a sound
network differs depends on its training. Each network is therefore compared with itself: the same
weights with the other values in use. A value that fits clearly better is named.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor

from hat_deploy.geometry import round_up
from hat_deploy.images import samples
from hat_deploy.images.resize import bicubic
from hat_deploy.networks.network import Network
from hat_deploy.networks.unstored import options_for

CLEARLY = 1.6
"""How many times smaller the misfit with another value must be. Measured on the shipped model,
trained with 0.01 and 1: 2.7 times for a ``conv_scale`` of 1, hundreds for a wrong ``img_range``."""
SOUND = 0.05
"""Misfit that no sound network exceeds, whatever it was trained for."""
_SIDE = 32


def doubt(network: Network) -> str | None:
    """Say which value the network was probably not trained with; None if all seem right.

    Args:
        network: float32, frozen, on the CPU. It is left as it is.

    A network with random weights fits with no value and is not doubted. A network of other than
    1 or 3 channels is not judged, for there is no image for it; nor is one that stores everything.
    """
    if network.config.channels not in (1, 3) or not network.config.in_use:
        return None
    config = network.config
    crops = _crops(config.channels, config.window)
    found = misfit(network, crops)
    trials = [(misfit(other, crops), name, value) for other, name, value in _others(network)]
    best, name, value = min(trials, key=lambda trial: trial[0])
    if not (best < SOUND and best * CLEARLY < found):
        return None
    option = f"--{name.replace('_', '-')} {value:g}"
    return (
        f"the result is off by {found:.2g} from the image it was made from (RMS, range 0 to 1), "
        f"and with {option} by {best:.2g}: the checkpoint was probably trained with that; "
        f"{options_for(config)} say what it does not store"
    )


def misfit(network: Network, crops: Tensor) -> float:
    """RMS of results, shrunk by antialiased bicubic, minus what they were made from.

    Args:
        crops: (B, C, H, W) float32 in [0, 1].

    Returns:
        Infinite where values are not finite.
    """
    with torch.inference_mode():
        results = network(crops).double().numpy()
    if not np.isfinite(results).all():
        return math.inf
    height, width = crops.shape[-2:]
    errors = [
        bicubic(np.ascontiguousarray(result.transpose(1, 2, 0)), height, width)
        - crop.transpose(1, 2, 0)
        for result, crop in zip(results, crops.numpy(), strict=True)
    ]
    return float(np.sqrt(np.mean(np.square(errors))))


def _others(network: Network) -> Iterator[tuple[Network, str, float]]:
    """The network with each other value in use, one at a time: the same object every time."""
    config, other = network.config, copy.deepcopy(network)
    for name, values in config.in_use.items():
        own = getattr(config, name)
        for value in values:
            if value != own:
                other.tell(**{name: value})
                yield other, name, value
        other.tell(**{name: own})


def _crops(channels: int, window: int) -> Tensor:
    """The middle of each image that ships: (2, C, side, side)."""
    side = round_up(_SIDE, window)
    pixels = samples.middles(side, window, channels)
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2) / np.float32(255)).contiguous()
