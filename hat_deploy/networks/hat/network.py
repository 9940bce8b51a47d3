"""The network: HAT, inference first, in the published key layout."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Self

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.geometry import reflect_indices, round_up
from hat_deploy.networks import windows
from hat_deploy.networks.buffers import mean_of
from hat_deploy.networks.hat import tensor_cores
from hat_deploy.networks.hat.averages import Averages, averaged_by
from hat_deploy.networks.hat.blocks import (
    CAB,
    HAB,
    OCAB,
    Attention,
    Size,
    entering,
    spelled_out,
    to_map,
    to_tokens,
)
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.islands import convert, halved
from hat_deploy.networks.hat.sparse import FRFN, SparseOCAB
from hat_deploy.networks.network import Network, OnScore


class ResidualGroup(nn.Module):
    """The blocks of an RHAG."""

    def __init__(self, config: HATConfig, depth: int, heads: int) -> None:
        super().__init__()
        shift = config.window_size // 2 if config.shift else 0
        self.blocks = nn.ModuleList(HAB(config, heads, shift if i % 2 else 0) for i in range(depth))
        overlapping = SparseOCAB if config.ast else OCAB
        self.overlap_attn = overlapping(config, heads) if config.overlap_size else None

    def forward(self, x: Tensor, size: Size, edge_masks: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, size, edge_masks)
        return x if self.overlap_attn is None else self.overlap_attn(x, size)


class RHAG(nn.Module):
    """Residual hybrid attention group: blocks, a closing convolution, a residual around all."""

    def __init__(self, config: HATConfig, depth: int, heads: int, conv: nn.Module) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(config, depth, heads)
        self.conv = conv

    def forward(self, x: Tensor, size: Size, edge_masks: Tensor) -> Tensor:
        y = self.residual_group(x, size, edge_masks)
        return x + to_tokens(self.conv(to_map(y, size)))


class PatchEmbed(nn.Module):
    """Only here for the published key ``patch_embed.norm``."""

    def __init__(self, config: HATConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embed_dim) if config.patch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class WindowTransformer(Network):
    """Everything of a HAT but its reconstruction.

    Call it with (B, in_channels, H, W) in [0, 1], any height and width from 1 up: a size that
    is no multiple of the window is reflect-padded at the right and bottom and the result
    cropped, as the authors do. Returns (B, in_channels, scale * H, scale * W), unclamped.

    :meth:`freeze` expands the position biases once, for inference; :meth:`train` undoes it.

    Args:
        config: of the blocks.
        closing: makes the convolution that closes each group, and the one that closes the body.
    """

    mean: Tensor
    edge_masks: Tensor

    def __init__(self, config: HATConfig, closing: Callable[[], nn.Module]) -> None:
        super().__init__()
        mean = torch.tensor(mean_of(config.in_channels))
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("edge_masks", _edge_masks(config.window_size), persistent=False)

        self.conv_first = nn.Conv2d(config.in_channels, config.embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(config)
        self.layers = nn.ModuleList(
            RHAG(config, depth, heads, closing())
            for depth, heads in zip(config.depths, config.num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(config.embed_dim)
        self.conv_after_body = closing()

    @property
    @abstractmethod
    def body(self) -> HATConfig:
        """The config of the blocks."""

    @abstractmethod
    def reconstruct(self, features: Tensor, x: Tensor) -> Tensor:
        """From features, (B, embed_dim, H, W), and the normalised input to the normalised result.

        Both sizes are multiples of the window.
        """

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        window, scale, img_range = self.config.window, self.config.scale, self.body.img_range
        x = _reflect_pad(x, round_up(height, window), round_up(width, window))
        x = (x - self.mean) * img_range
        shallow = self.conv_first(x)
        deep = self.conv_after_body(entering(self._body(shallow), self.conv_after_body))
        y = self.reconstruct(deep + shallow, x)
        y = y / img_range + self.mean
        return y[..., : height * scale, : width * scale]

    def _body(self, x: Tensor) -> Tensor:
        size = x.shape[2], x.shape[3]
        y = self.patch_embed(to_tokens(x).contiguous())
        for group in self.layers:
            y = group(y, size, self.edge_masks)
        return to_map(self.norm(y), size)

    @property
    def dtype(self) -> torch.dtype:
        """What the input is to be in."""
        return self.mean.dtype

    def in_precision(self, precision: str) -> Self:
        """See :mod:`hat_deploy.networks.hat.islands`."""
        return convert(self, precision)

    def for_tensor_cores(self) -> Self:
        """See :mod:`hat_deploy.networks.hat.tensor_cores`."""
        return tensor_cores.spelled(self)

    @property
    def averages(self) -> tuple[int, int] | None:
        """A gate in each HAB, each of as many channels as a token has."""
        config = self.body
        if not (config.cab_channels and config.squeeze_channels):
            return None
        return sum(config.depths), config.embed_dim

    def with_averages(
        self, x: Tensor, given: Tensor, known: Tensor, rows: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`hat_deploy.networks.hat.averages.Averages`."""
        averages = Averages(given, known, rows, columns)
        with averaged_by(self, averages):
            return self(x), averages.own

    def spelled_out(self, on_score: OnScore | None = None) -> AbstractContextManager[None]:
        """See :func:`spelled_out`."""
        return spelled_out(self) if on_score is None else spelled_out(self, on_score)

    def halved(self) -> Iterator[tuple[nn.Module, str, bool]]:
        """See :func:`hat_deploy.networks.hat.islands.halved`."""
        return halved(self)

    def constants(self) -> Iterator[Tensor]:
        """Parameters and buffers, every edge mask alone, and the biases that are written for
        convolutions without one."""
        yield from super().constants()
        yield from self.edge_masks
        yield from (torch.zeros(m.convolved) for m in self.modules() if isinstance(m, FRFN))

    def freeze(self) -> Self:
        """Switch to evaluation and expand every position bias once.

        Call it again after changing weights in place.
        """
        self.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, Attention):
                module.unfreeze()
                module.freeze()
        return self

    def train(self, mode: bool = True) -> Self:
        if mode:
            self._unfreeze()
        return super().train(mode)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        self._unfreeze()
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _unfreeze(self) -> None:
        """Undo :meth:`freeze`; what was never frozen keeps its ``requires_grad``."""
        attentions = [module for module in self.modules() if isinstance(module, Attention)]
        if any(module.frozen is not None for module in attentions):
            self.requires_grad_(True)
        for module in attentions:
            module.unfreeze()


class HAT(WindowTransformer):
    """The Hybrid Attention Transformer."""

    config: HATConfig

    def __init__(self, config: HATConfig) -> None:
        super().__init__(config, partial(_body_conv, config))
        self.config = config
        dim, feat = config.embed_dim, config.upsampler_channels
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(dim, feat, 3, padding=1), nn.LeakyReLU(0.01)
        )
        self.upsample = nn.Sequential(*pixel_shuffles(config.scale, feat))
        self.conv_last = nn.Conv2d(feat, config.in_channels, 3, padding=1)
        self.apply(initialise)

    @property
    def body(self) -> HATConfig:
        """The network's own."""
        return self.config

    def reconstruct(self, features: Tensor, x: Tensor) -> Tensor:
        """See :meth:`WindowTransformer.reconstruct`."""
        return self.conv_last(self.upsample(self.conv_before_upsample(features)))

    def tell(self, **values: float) -> None:
        """Change ``conv_scale`` or ``img_range`` in place."""
        self.config = self.config.told(**values)
        for module in self.modules():
            if isinstance(module, CAB):
                module.conv_scale = self.config.conv_scale


def _edge_masks(window: int) -> Tensor:
    """(3, 1, window**2, window**2): right, bottom and corner windows of a shifted map."""
    patterns = [(False, True), (True, False), (True, True)]
    shift = window // 2
    masks = [windows.edge_mask(window, shift, bottom=b, right=r) for b, r in patterns]
    return torch.stack(masks)[:, None]


def _body_conv(config: HATConfig) -> nn.Module:
    if not config.body_conv:
        return nn.Identity()
    return nn.Conv2d(config.embed_dim, config.embed_dim, 3, padding=1)


def pixel_shuffles(scale: int, channels: int) -> list[nn.Module]:
    """Convolutions that widen, each followed by a pixel shuffle by 2, or one by 3."""
    factors = [3] if scale == 3 else [2] * int(math.log2(scale))
    layers: list[nn.Module] = []
    for factor in factors:
        layers.append(nn.Conv2d(channels, factor**2 * channels, 3, padding=1))
        layers.append(nn.PixelShuffle(factor))
    return layers


def initialise(module: nn.Module) -> None:
    """The authors' initial values: what is not named here keeps torch's default."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _reflect_pad(x: Tensor, height: int, width: int) -> Tensor:
    for axis, padded in ((-2, height), (-1, width)):
        length = x.shape[axis]
        if padded != length:
            index = torch.tensor(reflect_indices(length, range(padded)), device=x.device)
            x = x.index_select(axis, index)
    return x
