"""What any network with weights is to the rest of the program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import nn

if TYPE_CHECKING:
    from typing import Self

    from hat_deploy.networks.shape import Shape


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

    @abstractmethod
    def spelled_out(self) -> AbstractContextManager[None]:
        """Within it, everything is computed by the formulas that are exported."""
