"""The network: SwinIR, inference first, in the published key layout."""

from __future__ import annotations

from functools import partial

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch.nn.functional as F
    from torch import Tensor, nn

from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.network import WindowTransformer, initialise, pixel_shuffles
from hat_deploy.networks.swinir.config import SwinIRConfig
from hat_deploy.networks.swinir.upsamplers import Closing, Upsampler


class Bottleneck(nn.Sequential):
    """3x3 to a quarter of the channels, 1x1, and 3x3 back (the authors' ``3conv``)."""

    def __init__(self, channels: int) -> None:
        inner = channels // 4
        super().__init__(
            nn.Conv2d(channels, inner, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(inner, inner, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(inner, channels, 3, padding=1),
        )

    @property
    def weight(self) -> Tensor:
        """The first convolution's, whose dtype is what the input is cast to."""
        return self[0].get_parameter("weight")


class SwinIR(WindowTransformer):
    """The network of "SwinIR: Image Restoration Using Swin Transformer"."""

    config: SwinIRConfig

    def __init__(self, config: SwinIRConfig) -> None:
        super().__init__(config.body, partial(_closing, config))
        self.config = config
        dim, feat, channels = config.embed_dim, config.upsampler_channels, config.in_channels
        upsampler = Upsampler(config.upsampler)
        if upsampler is Upsampler.DIRECT:
            wide = nn.Conv2d(dim, channels * config.scale**2, 3, padding=1)
            self.upsample = nn.Sequential(wide, nn.PixelShuffle(config.scale))
        if upsampler.has_channels:
            self.conv_before_upsample = nn.Sequential(
                nn.Conv2d(dim, feat, 3, padding=1), nn.LeakyReLU(0.01)
            )
        if upsampler is Upsampler.PIXEL_SHUFFLE:
            self.upsample = nn.Sequential(*pixel_shuffles(config.scale, feat))
        if upsampler is Upsampler.NEAREST:
            self.conv_up1 = nn.Conv2d(feat, feat, 3, padding=1)
            if config.scale == 4:
                self.conv_up2 = nn.Conv2d(feat, feat, 3, padding=1)
            self.conv_hr = nn.Conv2d(feat, feat, 3, padding=1)
        if upsampler is not Upsampler.DIRECT:
            self.conv_last = nn.Conv2d(feat or dim, channels, 3, padding=1)
        self.apply(initialise)

    @property
    def body(self) -> HATConfig:
        """The blocks: those of a HAT without CAB and OCAB."""
        return self.config.body

    def reconstruct(self, features: Tensor, x: Tensor) -> Tensor:
        """See :meth:`WindowTransformer.reconstruct`."""
        upsampler = self.config.upsampler
        if upsampler == Upsampler.NONE:
            return x + self.conv_last(features)
        if upsampler == Upsampler.DIRECT:
            return self.upsample(features)
        y = self.conv_before_upsample(features)
        if upsampler == Upsampler.PIXEL_SHUFFLE:
            return self.conv_last(self.upsample(y))
        y = _doubled(y, self.conv_up1)
        if self.config.scale == 4:
            y = _doubled(y, self.conv_up2)
        return self.conv_last(F.leaky_relu(self.conv_hr(y), 0.2))

    def tell(self, **values: float) -> None:
        """Change ``img_range`` in place."""
        self.config = self.config.told(**values)


def _closing(config: SwinIRConfig) -> nn.Module:
    dim = config.embed_dim
    one = config.closing == Closing.ONE
    return nn.Conv2d(dim, dim, 3, padding=1) if one else Bottleneck(dim)


def _doubled(x: Tensor, conv: nn.Module) -> Tensor:
    """Every pixel repeated in both directions, convolved."""
    return F.leaky_relu(conv(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
