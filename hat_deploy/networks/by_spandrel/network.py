"""A network that spandrel built, behind the contract of this program's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.geometry import reflect_indices, round_up
from hat_deploy.networks import mixed
from hat_deploy.networks.assignment import Assignment
from hat_deploy.networks.by_spandrel import counting, library
from hat_deploy.networks.by_spandrel.library import Found
from hat_deploy.networks.by_spandrel.shape import SpandrelShape, window_for
from hat_deploy.networks.limits import MAX_WINDOW
from hat_deploy.networks.network import Network, OnScore
from hat_deploy.precision import Precision

COUNTED = 64
"""Side of the input that is counted, rounded up to the window."""


class SpandrelNetwork(Network):
    """Any network from one image to another that spandrel knows.

    A size that is no multiple of the window is padded by reflection at the right and bottom and
    the result cropped; where the network computes squares only, up to a square.
    """

    config: SpandrelShape

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.model = found.model
        self._call = found.call
        self._assigned: dict[str, Assignment] = {}
        self._mixed: mixed.Mixed | None = None
        self.freeze()
        self.config = _measured(found)

    @property
    def dtype(self) -> torch.dtype:
        """What the input is to be in: float32 where layers cast for themselves."""
        return torch.float32 if self._mixed else next(self.parameters()).dtype

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`~hat_deploy.networks.network.Network`."""
        height, width = x.shape[-2:]
        window, scale = self.config.window, self.config.scale
        padded = _padded((height, width), window, square=self.config.square)
        if padded == (height, width):
            return self._run(x)
        y = self._run(_reflected(x, padded))
        return y[..., : height * scale, : width * scale]

    def freeze(self) -> Self:
        """Switch to evaluation, and fuse once what would fuse its weights in every pass."""
        self.eval().requires_grad_(False)
        for module in self.modules():
            kind: Any = type(module)
            if hasattr(kind, "update_params"):  # SPAN's, which no graph can hold
                kind.update_params(module)
                module.__dict__["update_params"] = _nothing
        return self

    def in_precision(self, precision: str) -> SpandrelNetwork:
        """See :mod:`hat_deploy.networks.mixed`.

        Raises:
            ValueError: no layers were assigned in that precision.
        """
        self.freeze()
        if precision == Precision.FP32:
            return self
        assignment = self._assigned.get(Precision.of(precision).arithmetic)
        if assignment is None:
            raise ValueError(f"which layers are to compute in {precision} was not assigned")
        other = copy.deepcopy(self)
        other._mixed = mixed.Mixed(other, assignment)
        return other

    @property
    def needs_assignment(self) -> bool:
        """A search must say which layers compute in half."""
        return True

    def assign(self, assignment: Assignment) -> None:
        """See :meth:`Network.assign`."""
        self._assigned[assignment.precision] = assignment

    @contextmanager
    def spelled_out(self, on_score: OnScore | None = None) -> Iterator[None]:
        """Half precision is computed as fp32, rounded after every operation: a CPU without
        instructions for it is too slow for convolutions. Scores are not shown."""
        if self._mixed is None:
            yield
            return
        with self._mixed.emulated():
            yield

    def constants(self) -> Iterator[Tensor]:
        """Parameters, buffers and other tensors of its modules; where layers differ in precision,
        also as others take them."""
        others = (value for module in self.modules() for value in vars(module).values())
        for tensor in (*super().constants(), *others):
            if not isinstance(tensor, Tensor):
                continue
            yield tensor
            if self._mixed is not None and tensor.is_floating_point():
                yield tensor.to(self._mixed.half)

    def _run(self, x: Tensor) -> Tensor:
        if self._mixed is None:
            return self._call(self.model, x)
        with self._mixed.mode:
            y = self._call(self.model, x)
        return y.float()

    def halved(self) -> Iterator[tuple[nn.Module, str, bool]]:
        """None."""
        return iter(())

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
    if window > MAX_WINDOW:
        raise CheckpointError(
            f"this {found.architecture} takes images in multiples of {window} pixels, and tiles "
            f"go by {MAX_WINDOW} at most: it cannot be run here"
        )
    side = round_up(COUNTED, window)

    def call(x: Tensor) -> Tensor:
        return found.call(found.model, x)

    first = counting.count(call, (1, found.channels, side, side))
    try:
        second = counting.count(call, (1, found.channels, 2 * side, 2 * side))
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


def _padded(size: tuple[int, int], window: int, *, square: bool) -> tuple[int, int]:
    height, width = (round_up(length, window) for length in size)
    return (max(height, width),) * 2 if square else (height, width)


def _reflected(x: Tensor, size: tuple[int, int]) -> Tensor:
    for axis, padded in zip((-2, -1), size, strict=True):
        length = x.shape[axis]
        if padded != length:
            index = torch.tensor(reflect_indices(length, range(padded)), device=x.device)
            x = x.index_select(axis, index)
    return x
