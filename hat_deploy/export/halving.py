"""Lets a search say which layers of a network compute in half, on images that ship and extremes.

The images are the middles of those that ship, then noise, black, white and a checkerboard: what
is black or of one colour makes variances 0, and noise and a checkerboard have the largest
differences that there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hat_deploy.errors import CheckFailed, HatDeployError, needed_for

with needed_for("Exporting a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.geometry import round_up
from hat_deploy.images import samples
from hat_deploy.networks.assignment import Assignment
from hat_deploy.networks.network import Network
from hat_deploy.networks.search import search
from hat_deploy.networks.weights import shortened
from hat_deploy.precision import Precision
from hat_deploy.terminal.progress import OnStage

SIDES = 32, 64
"""Sides of each image, rounded up to the window: the first, for a search takes up to some hundred
runs; the second for networks that do not compute the first."""


def assign(
    network: Network, precision: str, floor: float, on_stage: OnStage = lambda stage: None
) -> Assignment | None:
    """Find the layers that stay in fp32, and hand them to the network.

    Args:
        network: float32, frozen, on the CPU.
        precision: what is to be half.
        floor: the PSNR to reach against fp32, in dB.

    Returns:
        What was found; None where there is nothing to find: in fp32, or where the architecture
        says itself.

    Raises:
        CheckFailed: no choice reaches the floor, or the network does not run layer by layer.
    """
    if precision == Precision.FP32 or not network.needs_assignment:
        return None
    shape, found = network.config, None
    for side in SIDES:
        images = batches(round_up(side, shape.window), shape.window, shape.channels)
        try:
            found = search(network, images, Precision.of(precision), floor=floor, on_stage=on_stage)
            break
        except HatDeployError:
            raise
        except Exception as error:  # whatever the code of a network by others meets there
            reason = error
    if found is None:
        raise CheckFailed(
            f"which layers of this {shape.variant} bear {precision} was not found, for it does not "
            f"run layer by layer ({shortened(' '.join(str(reason).split()))}): use fp32"
        )
    network.assign(found)
    return found


def batches(side: int, window: int, channels: int) -> Sequence[Tensor]:
    """Two batches of (B, C, side, side) float32 in [0, 1]: images, and extremes."""
    shipped = samples.middles(side, window, channels).transpose(0, 3, 1, 2) / np.float32(255)
    shape = (channels, side, side)
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    board = np.broadcast_to(np.indices((side, side)).sum(0) % 2, shape)
    extremes = np.stack([noise, np.zeros(shape), np.ones(shape), board]).astype(np.float32)
    return [torch.from_numpy(np.ascontiguousarray(batch)) for batch in (shipped, extremes)]
