"""Channel attention by averages from outside, so that tiles see the whole image's.

A gate of channel attention depends on an average over the whole map. A tile has only its own
part of it; here each gate takes a given average instead, and gives that of the part of the tile
that is kept, from which the whole's can be put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.networks.hat.blocks import ChannelAttention


class Averages:
    """What every channel attention of one pass takes instead of its own average.

    Args:
        given: (B, gates, C, 1), in the order in which gates are computed.
        known: (B, 1, 1, 1): 1 for a tile whose gates take ``given``, 0 for one whose gates
            take the average over its own counted part.
        rows: (B, 1, H, 1): 1 where a row counts, 0 where it is halo or padding.
        columns: (B, 1, 1, W): the same for columns.
    """

    def __init__(self, given: Tensor, known: Tensor, rows: Tensor, columns: Tensor) -> None:
        self._given, self._known = given, known
        self._mask = rows * columns
        area = rows.shape[2] * columns.shape[3]
        self._share = area / (rows.sum(2, keepdim=True) * columns.sum(3, keepdim=True))
        self._own: list[Tensor] = []

    @property
    def own(self) -> Tensor:
        """(B, gates, C, 1): over the counted part of each tile, of the gates so far."""
        return torch.stack([average.flatten(2) for average in self._own], 1)

    def __call__(self, x: Tensor) -> Tensor:
        """The average that the next gate takes: (B, C, H, W) to (B, C, 1, 1), in fp32."""
        own = (x * self._mask).mean((2, 3), keepdim=True) * self._share
        given = self._given[:, len(self._own), :, :, None]
        self._own.append(own)
        return own * (1 - self._known) + given * self._known


@contextmanager
def averaged_by(network: nn.Module, average: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, gates take what ``average`` makes of their map."""
    gates = [module for module in network.modules() if isinstance(module, ChannelAttention)]
    for module in gates:
        module.average = average
    try:
        yield
    finally:
        for module in gates:
            module.average = None
