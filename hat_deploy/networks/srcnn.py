"""SRCNN, which is told by its weights and refused."""

from __future__ import annotations

from hat_deploy.errors import CheckpointError
from hat_deploy.networks.sizes import StateDict

_CONVOLUTIONS = tuple(f"conv{number}.weight" for number in (1, 2, 3))
_SIDES = {(9, 1, 5), (9, 3, 5), (9, 5, 5)}
"""Of the kernels of its three convolutions, in "Image Super-Resolution Using Deep Convolutional
Networks" (TPAMI 2016, arXiv 1501.00092)."""


def refuse(state_dict: StateDict) -> None:
    """Say what is missing for it.

    Raises:
        CheckpointError: the weights are those of an SRCNN.
    """
    weights = [state_dict[name] for name in _CONVOLUTIONS if name in state_dict]
    biases = {name.replace("weight", "bias") for name in _CONVOLUTIONS}
    if len(weights) != 3 or any(weight.ndim != 4 for weight in weights):
        return
    known = set(state_dict) <= {*_CONVOLUTIONS, *biases}
    if known and tuple(weight.shape[-1] for weight in weights) in _SIDES:
        raise CheckpointError(
            "the weights are those of an SRCNN, which enlarges nothing: it takes an image that "
            "bicubic interpolation has enlarged, mostly its luma alone, by a factor that is not "
            "in the weights. Only networks from an image to its enlargement can be run here: use "
            "an EDSR, or any other that enlarges by itself"
        )
