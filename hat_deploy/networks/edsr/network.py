"""The network: EDSR in its authors' key layout."""

from __future__ import annotations

from typing import Self

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.networks.buffers import RGB_MEAN
from hat_deploy.networks.edsr.config import EDSRConfig
from hat_deploy.networks.hat.network import pixel_shuffles
from hat_deploy.networks.searched import SearchedNetwork


class ResidualBlock(nn.Module):
    """Two convolutions whose result is scaled and added."""

    def __init__(self, features: int, conv_scale: float) -> None:
        super().__init__()
        self.conv_scale = conv_scale
        self.body = nn.Sequential(_conv(features, features), nn.ReLU(), _conv(features, features))

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, H, W) to the same."""
        y: Tensor = self.body(x)
        return x + (y if self.conv_scale == 1 else y * self.conv_scale)


class EDSR(SearchedNetwork):
    """The network of "Enhanced Deep Residual Networks for Single Image Super-Resolution"."""

    config: EDSRConfig
    mean: Tensor

    def __init__(self, config: EDSRConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.features
        blocks = [ResidualBlock(dim, config.conv_scale) for _ in range(config.blocks)]
        self.head = nn.Sequential(_conv(config.channels, dim))
        self.body = nn.Sequential(*blocks, _conv(dim, dim))
        self.tail = nn.Sequential(
            nn.Sequential(*pixel_shuffles(config.scale, dim)), _conv(dim, config.channels)
        )
        mean = torch.tensor(RGB_MEAN).reshape(1, -1, 1, 1)
        self.register_buffer("mean", mean, persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """See :meth:`SearchedNetwork.compute`."""
        shallow = self.head((x - self.mean) * self.config.img_range)
        y: Tensor = self.tail(shallow + self.body(shallow))
        return y / self.config.img_range + self.mean

    def freeze(self) -> Self:
        """Switch to evaluation."""
        return self.eval().requires_grad_(False)

    def tell(self, **values: float) -> None:
        """Change ``conv_scale`` or ``img_range`` in place."""
        self.config = self.config.told(**values)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.conv_scale = self.config.conv_scale


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
