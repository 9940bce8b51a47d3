"""A network of which a search says what computes in half, and which needs no window of its own."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.geometry import reflect_indices, round_up
from hat_deploy.networks import mixed
from hat_deploy.networks.assignment import Assignment
from hat_deploy.networks.network import Network, OnScore
from hat_deploy.precision import Precision


class SearchedNetwork(Network):
    """Runs in fp32, or with each layer in the precision that it was assigned.

    A size that is no multiple of the window is padded by reflection at the right and bottom and
    the result cropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._assigned: dict[str, Assignment] = {}
        self._mixed: mixed.Mixed | None = None

    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The network itself, on sizes that are multiples of the window."""

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The size up to which an image is padded."""
        window = self.config.window
        return round_up(height, window), round_up(width, window)

    @property
    def dtype(self) -> torch.dtype:
        """What the input is to be in: float32 where layers cast for themselves."""
        return torch.float32 if self._mixed else next(self.parameters()).dtype

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`~hat_deploy.networks.network.Network`."""
        height, width = x.shape[-2:]
        padded, scale = self.padded(height, width), self.config.scale
        if padded == (height, width):
            return self._run(x)
        y = self._run(_reflected(x, padded))
        return y[..., : height * scale, : width * scale]

    def in_precision(self, precision: str) -> SearchedNetwork:
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

    def halved(self) -> Iterator[tuple[nn.Module, str, bool]]:
        """None."""
        return iter(())

    def _run(self, x: Tensor) -> Tensor:
        if self._mixed is None:
            return self.compute(x)
        with self._mixed.mode:
            y = self.compute(x)
        return y.float()


def _reflected(x: Tensor, size: tuple[int, int]) -> Tensor:
    for axis, padded in zip((-2, -1), size, strict=True):
        length = x.shape[axis]
        if padded != length:
            index = torch.tensor(reflect_indices(length, range(padded)), device=x.device)
            x = x.index_select(axis, index)
    return x
