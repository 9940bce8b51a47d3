"""The form in which a network is exported: its input and output are an artifact's."""

from __future__ import annotations

from hat_deploy.errors import needed_for
from hat_deploy.networks.network import Network

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

LARGEST = torch.finfo(torch.float32).max


class Deployed(nn.Module):
    """A network with the input and output of an artifact.

    Args:
        network: of any precision.
        exact: whether it also takes and gives averages; see :meth:`forward`.
        io: ``float``: (B, C, H, W) float32 in [0, 1] to (B, C, sH, sW) float32, not clamped.
            ``uint8``: (B, H, W, C) bytes to (B, sH, sW, C) bytes, clamped and rounded half to
            even, which equals rounding the float result outside; and (B,) float32, each tile's
            largest magnitude before that, infinite if a value was not finite.
    """

    def __init__(self, network: Network, io: str, *, exact: bool = False) -> None:
        super().__init__()
        self.exact = exact
        self.network = network
        self.io = io
        self.dtype = network.dtype

    def forward(self, x: Tensor, *averages: Tensor) -> Tensor | tuple[Tensor, ...]:
        """One batch; the first and the last thing done to bytes is a cast, as TensorRT asks.

        Args:
            averages: of an exact one, as :meth:`Network.with_averages` takes them.

        Returns:
            The result; of an exact one then the tiles' own averages, and of bytes then their peaks.
        """
        if self.io == "uint8":
            x = x.float().permute(0, 3, 1, 2) / 255.0
        x = x if x.dtype == self.dtype else x.to(self.dtype)
        y, *own = self.network.with_averages(x, *averages) if self.exact else (self.network(x),)
        if y.dtype != torch.float32:
            y = y.float()
        if self.io == "uint8":
            own.append(_peak(y))
            y = torch.round(y.clamp(0.0, 1.0) * 255.0).permute(0, 2, 3, 1).to(torch.uint8)
        return (y, *own) if own else y


def _peak(y: Tensor) -> Tensor:
    """The largest magnitude of each of (B, C, H, W); infinite where a value is not finite.

    A library's maximum may pass over NaN; no comparison with NaN holds.
    """
    magnitude = y.abs()
    known = torch.where(magnitude <= LARGEST, magnitude, torch.inf)
    return known.amax(dim=(1, 2, 3))
