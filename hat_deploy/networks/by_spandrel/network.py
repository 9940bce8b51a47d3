"""A network that spandrel built, behind the contract of this program's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Running a network in PyTorch"):
    from torch import Tensor

from hat_deploy.geometry import round_up
from hat_deploy.networks.by_spandrel import counting, library
from hat_deploy.networks.by_spandrel.library import Found
from hat_deploy.networks.by_spandrel.shape import SpandrelShape, window_for
from hat_deploy.networks.limits import MAX_MULTIPLE
from hat_deploy.networks.searched import SearchedNetwork

COUNTED = 64
"""Side of the input that is counted, rounded up to the window."""


class SpandrelNetwork(SearchedNetwork):
    """Any network from one image to another that spandrel knows.

    Where it computes squares only, images are padded up to a square.
    """

    config: SpandrelShape

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.model = found.model
        self._call = found.call
        self.freeze()
        self.config = _measured(found)

    def compute(self, x: Tensor) -> Tensor:
        """See :meth:`SearchedNetwork.compute`."""
        return self._call(self.model, x.clone())  # RCAN multiplies its input in place

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """See :meth:`SearchedNetwork.padded`."""
        height, width = super().padded(height, width)
        return (max(height, width),) * 2 if self.config.square else (height, width)

    def freeze(self) -> Self:
        """Switch to evaluation, and fuse once what would fuse its weights in every pass."""
        self.eval().requires_grad_(False)
        for module in self.modules():
            kind: Any = type(module)
            if hasattr(kind, "update_params"):  # SPAN's, which no graph can hold
                kind.update_params(module)
                module.__dict__["update_params"] = _nothing
        return self

    def tell(self, **values: float) -> None:
        """There is nothing to be told.

        Raises:
            ValueError: there is.
        """
        self.config.told(**values)


def load(state_dict: Mapping[str, Tensor]) -> SpandrelNetwork | None:
    """The network that the weights are of, frozen; None if spandrel knows none.

    Raises:
        CheckpointError, MissingExtraError: as :func:`hat_deploy.networks.by_spandrel.library.find`.
    """
    found = library.find(state_dict)
    return None if found is None else SpandrelNetwork(found)


def _nothing() -> None:
    """Its weights are fused."""


def _measured(found: Found) -> SpandrelShape:
    window = window_for(found.minimum, found.multiple)
    if window > MAX_MULTIPLE:
        raise CheckpointError(
            f"this {found.architecture} takes images in multiples of {window} pixels, and tiles "
            f"go by {MAX_MULTIPLE} at most: it cannot be run here"
        )
    side = round_up(COUNTED, window)

    def call(x: Tensor) -> Tensor:
        return found.call(found.model, x)

    first = counting.count(found.architecture, call, (1, found.channels, side, side))
    try:
        shape = (1, found.channels, 2 * side, 2 * side)
        second = counting.count(found.architecture, call, shape)
    except CheckpointError as error:
        raise CheckpointError(
            f"this {found.architecture} computes {side}x{side} pixels and nothing larger: only "
            "networks that take images of many sizes can be run here"
        ) from error
    return SpandrelShape(
        architecture=found.architecture,
        scale=found.scale,
        channels=found.channels,
        window=window,
        square=found.square,
        parameters=sum(parameter.numel() for parameter in found.model.parameters()),
        side=side,
        multi_adds=(first[0], second[0]),
        activations=(first[1], second[1]),
    )
