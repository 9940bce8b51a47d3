"""The sizes of a HAT, from which its cost follows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """Sizes and optional parts, which :class:`~hat_deploy.networks.hat.config.HATConfig` checks."""

    scale: int
    """Upscaling factor: 1, 2, 3, 4, 8 or 16."""
    in_channels: int = 3
    """Channels of the image in and out: 3 for RGB, 1 for gray."""
    embed_dim: int = 180
    """Channels of the residual stream."""
    depths: tuple[int, ...] = (6,) * 6
    """HABs in each RHAG."""
    num_heads: tuple[int, ...] = (6,) * 6
    """Attention heads in each RHAG; each divides ``embed_dim``."""
    window_size: int = 16
    """Side of an attention window, M. Height and width must be multiples of it."""
    overlap_size: int = 24
    """Side of the window OCAB takes keys and values from, (1 + gamma) M; 0: no OCAB."""
    cab_channels: int = 60
    """Channels inside CAB, embed_dim // compress_ratio; 0: no CAB."""
    squeeze_channels: int = 6
    """Channels inside channel attention, embed_dim // squeeze_factor; 0: none."""
    mlp_channels: int = 360
    """Hidden channels of every MLP, embed_dim * mlp_ratio."""
    upsampler_channels: int = 64
    """Channels of the upsampler."""
    qkv_bias: bool = True
    """Whether the q, k, v projections have a bias."""
    patch_norm: bool = True
    """Whether a LayerNorm follows the first convolution."""
    ast: bool = False
    """Whether OCAB's attention is partly a squared ReLU, and its MLP an FRFN (HAT with AST)."""
    body_conv: bool = True
    """Whether a convolution closes each RHAG and the body (the authors' ``1conv``)."""
