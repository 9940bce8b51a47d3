"""What any network with weights is to the rest of the program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

if TYPE_CHECKING:
    from typing import Self

    from hat_deploy.networks.assignment import Assignment
    from hat_deploy.networks.shape import Shape


OnScore = Callable[[nn.Module, Tensor], None]
"""Shown an attention and a step of its scores."""


class Network(nn.Module, ABC):
    """A network in PyTorch.

    Call it with (B, C, H, W) in [0, 1], any height and width from 1 up. It returns
    (B, C, scale * H, scale * W), not clamped.
    """

    config: Shape

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """What the input is to be in."""

    @abstractmethod
    def freeze(self) -> Self:
        """Switch to evaluation and compute once what depends on weights alone.

        Call it again after changing weights in place.
        """

    @abstractmethod
    def in_precision(self, precision: str) -> Network:
        """The network in a precision; a frozen copy, but the network itself for ``fp32``.

        Parts that would overflow or drift in half stay in fp32, except in ``fp16-pure``.

        Args:
            precision: the name of a :class:`~hat_deploy.precision.Precision`.
        """

    @property
    def needs_assignment(self) -> bool:
        """Whether no architecture says which layers compute in half: a search must."""
        return False

    def assign(self, assignment: Assignment) -> None:
        """Take the layers that :meth:`in_precision` is to compute in half, in its precision."""
        raise NotImplementedError

    def for_tensor_cores(self) -> Network:
        """The network as TensorRT computes it fastest: a frozen copy that computes the same.

        What has no other form is its own answer. Convert it to a precision afterwards.
        """
        return self.freeze()

    @property
    def averages(self) -> tuple[int, int] | None:
        """How many averages over the whole image it takes, and of how many channels each; None
        for a network that takes none."""
        return None

    def with_averages(
        self, x: Tensor, given: Tensor, known: Tensor, rows: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute tiles with averages from outside, and give those of their counted parts.

        Args:
            x: (B, C, H, W) in [0, 1], H and W multiples of the window.
            given: (B, averages, channels, 1) float32.
            known: (B, 1, 1, 1): 1 to take ``given``, 0 to take the tile's own.
            rows, columns: (B, 1, H, 1) and (B, 1, 1, W): 1 where a pixel counts, else 0.

        Returns:
            The result, and the tile's own averages in the shape of ``given``.
        """
        raise NotImplementedError

    @abstractmethod
    def spelled_out(self, on_score: OnScore | None = None) -> AbstractContextManager[None]:
        """Within it, everything is computed by the formulas that are exported.

        Args:
            on_score: shown every step of attention from queries and keys to what softmax takes.
        """

    @abstractmethod
    def halved(self) -> Iterator[tuple[nn.Module, str, bool]]:
        """The layers that ``fp16`` and ``bf16`` compute in half.

        Returns:
            The module that holds each, its name there, and whether its result goes straight to
            a sum in fp32: such a result may be scaled.
        """

    @abstractmethod
    def tell(self, **values: float) -> None:
        """Change in place what no checkpoint stores: those of ``config.in_use``."""

    def constants(self) -> Iterator[Tensor]:
        """Every tensor that an export may store as a constant."""
        yield from self.parameters()
        yield from self.buffers()
