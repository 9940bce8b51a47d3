"""What a SwinIR costs: its blocks are a HAT's, its reconstruction and closing its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hat_deploy.networks.cost import Cost, Part, conv
from hat_deploy.networks.swinir.upsamplers import Closing, Upsampler

if TYPE_CHECKING:
    from hat_deploy.networks.hat.config import HATConfig


def cost(body: HATConfig, upsampler: str, closing: str, height: int, width: int) -> Cost:
    """Parameters and multi-adds on an LR input of ``height`` x ``width``.

    The kinds of layers are those of :func:`hat_deploy.networks.hat.cost.cost` but ``cab`` and
    ``ocab``.

    Raises:
        ValueError: a size is not a positive multiple of the window.
    """
    of_body = body.cost(height, width).parts
    parts = {kind: part for kind, part in of_body.items() if kind not in ("cab", "ocab")}
    pixels = height * width
    parts["closing"] = _closing(body.embed_dim, closing, pixels) * (len(body.depths) + 1)
    if upsampler != Upsampler.PIXEL_SHUFFLE:
        parts["reconstruction"] = _reconstruction(body, upsampler, pixels)
    return Cost(height, width, parts)


def _closing(dim: int, closing: str, pixels: int) -> Part:
    if closing == Closing.ONE:
        return conv(dim, dim, pixels)
    inner = dim // 4
    return conv(dim, inner, pixels) + conv(inner, inner, pixels, 1) + conv(inner, dim, pixels)


def _reconstruction(body: HATConfig, upsampler: str, pixels: int) -> Part:
    dim, feat = body.embed_dim, body.upsampler_channels
    channels, scale = body.in_channels, body.scale
    if upsampler == Upsampler.DIRECT:
        return conv(dim, channels * scale**2, pixels)
    if upsampler == Upsampler.NONE:
        return conv(dim, channels, pixels)
    total = conv(dim, feat, pixels)
    for factor in (2, 4)[: scale // 2]:
        total += conv(feat, feat, pixels * factor**2)
    enlarged = pixels * scale**2
    return total + conv(feat, feat, enlarged) + conv(feat, channels, enlarged)
