"""The parts of a HAT: attention in windows, channel attention, and the blocks of both.

Between blocks there are tokens, (batch, height * width, embed_dim), row by row; convolutions
see the same memory as NCHW in channels-last order, so no copy is made on the way. Three
dimensions and not four: what has four, OpenVINO takes for NCHW and reorders in every block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

from hat_deploy.networks import windows
from hat_deploy.networks.hat.config import HATConfig

Size = tuple[int, int]
"""Height and width of a feature map."""
MARKS = 2
"""Channels of a padded head that tell apart what a shift brought together."""


def entering(x: Tensor, layer: nn.Module) -> Tensor:
    """``x`` in the dtype of the layer that takes it.

    Layers may differ in precision (:mod:`hat_deploy.networks.hat.islands`): their weights decide
    what they compute in. In a network of one dtype this is the identity. A sum of two dtypes needs
    no cast of its own: it comes out in the wider one.
    """
    weight = getattr(layer, "weight", None)
    return x if weight is None or x.dtype == weight.dtype else x.to(weight.dtype)


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """(B, H * W, C) to (B, C, H, W), the same memory."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def score(
    q: Tensor, k: Tensor, bias: Tensor, mask: Tensor | None, scale: float
) -> Iterator[Tensor]:
    """q k^T scale + bias + mask, one step after another; softmax takes the last.

    For arguments see :meth:`Attention.attend`. Bias and mask are two sums: as one sum of
    constants, TensorRT would store it.
    """
    x = q * scale
    yield x
    x = x @ k.transpose(-2, -1)
    yield x
    x = x + bias
    yield x
    if mask is not None:
        yield x + mask


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(windows, tokens, heads * d) to (windows, heads, tokens, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def padded(x: Tensor, width: int) -> Tensor:
    """``x`` with zeros after its last axis, up to ``width``."""
    missing = width - x.shape[-1]
    return F.pad(x, (0, missing)) if missing else x


class Attention(nn.Module):
    """An attention with a learned bias: a small table, expanded over (query, key) by an index."""

    qkv: nn.Linear
    proj: nn.Linear
    relative_position_bias_table: Tensor
    index: Tensor
    frozen: Tensor | None
    width: int | None = None
    """The channels that its heads are padded to, marks included; None: they are as they are.
    See :mod:`hat_deploy.networks.hat.tensor_cores`, which sets it."""
    on_score: Callable[[Tensor], None] | None = None
    """Where set, scores are computed step by step as they are exported, and it sees each step."""

    def __init__(self, config: HATConfig, index: Tensor, rows: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = config.qk_scale or (config.embed_dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("frozen", None, persistent=False)

    def bias(self) -> Tensor:
        """(heads, queries, keys)."""
        if self.frozen is not None:
            return self.frozen
        return self.relative_position_bias_table[self.index].permute(2, 0, 1).contiguous()

    def freeze(self) -> None:
        with torch.no_grad():
            self.frozen = self.bias().detach()

    def unfreeze(self) -> None:
        self.frozen = None

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """softmax(q k^T scale + bias + mask) v.

        Args:
            q: (windows, heads, queries, d).
            k, v: (windows, heads, keys, d).
            bias: (heads, queries, keys), the same for all windows.
            mask: (1, queries, keys), the same for all heads too.

        While the network is being exported the formula is spelled out, so that the graph holds
        two matrix products and a softmax, which every engine knows; otherwise it is one fused
        call, which computes scores in fp32 whatever the network's precision.
        """
        if self.on_score is None and not torch.compiler.is_exporting():
            total = bias if mask is None else bias + mask
            return F.scaled_dot_product_attention(q, k, v, total[None], scale=self.scale)
        for step in score(q, k, bias, mask, self.scale):
            if self.on_score is not None:
                self.on_score(step)
        return torch.softmax(step, dim=-1) @ v


@contextmanager
def spelled_out(
    network: nn.Module, on_score: Callable[[Attention, Tensor], None] = lambda module, step: None
) -> Iterator[None]:
    """Within it, attention is computed by the formula that is exported, in its own precision.

    Args:
        network: any with attentions in it.
        on_score: shown every step from queries and keys to what softmax takes.
    """
    attentions = [module for module in network.modules() if isinstance(module, Attention)]
    for module in attentions:
        module.on_score = partial(on_score, module)
    try:
        yield
    finally:
        for module in attentions:
            module.on_score = None


class WindowAttention(Attention):
    """(S)W-MSA: multi-head self attention inside windows, shifted or not."""

    def __init__(self, config: HATConfig, heads: int, shift: int) -> None:
        window = config.window_size
        index = windows.relative_position_index(window)
        super().__init__(config, index, (2 * window - 1) ** 2, heads)
        self.window = window
        self.shift = shift
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=config.qkv_bias)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor, size: Size, edge_masks: Tensor) -> Tensor:
        """(B, H * W, C) to the same.

        ``edge_masks`` are as :func:`_edge_masks` makes them, or where heads are padded as
        :func:`hat_deploy.networks.hat.tensor_cores.marks` does.
        """
        qkv = self.qkv(entering(x, self.qkv)).unflatten(1, size)
        if self.width is not None:
            return self._attend_at_once(qkv, edge_masks, self.width).flatten(1, 2)
        bias = self.bias()
        if not self.shift:
            return self.proj(self._attend(qkv, bias).flatten(1, 2))
        regions = windows.shifted_regions(qkv, self.window, self.shift)
        done = []
        for region in regions:
            pattern = 2 * region.bottom + region.right
            mask = edge_masks[pattern - 1] if pattern else None
            y = self._attend(region.x, bias, mask)
            done.append(windows.Region(y, region.bottom, region.right))
        return self.proj(windows.unshift(done, self.window, self.shift).flatten(1, 2))

    def _attend(self, qkv: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
        parts = windows.partition(qkv, self.window)
        q, k, v = (split_heads(part, self.heads) for part in parts.chunk(3, -1))
        x = self.attend(q, k, v, bias, mask).transpose(1, 2).flatten(2)
        return windows.merge(x, self.window, *qkv.shape[:3])

    def _attend_at_once(self, qkv: Tensor, marks: Tensor, width: int) -> Tensor:
        """Windows of every kind in one attention, and each projected before they are merged:
        TensorRT then fuses the way back with the sum that follows."""
        batch, *size, _ = qkv.shape
        parts = windows.partition(windows.rolled(qkv, -self.shift), self.window)
        q, k, v = (split_heads(part, self.heads) for part in parts.chunk(3, -1))
        if self.shift:
            spread = windows.spread(marks, batch, *(side // self.window for side in size))
            of_q, of_k = spread[:, None].expand(-1, self.heads, -1, -1).chunk(2, -1)
            q = torch.cat([q, of_q / self.scale], -1)
            k = torch.cat([k, of_k], -1)
        q, k, v = (padded(part, width) for part in (q, k, v))
        y = self.proj(self.attend(q, k, v, self.bias()).transpose(1, 2).flatten(2))
        return windows.rolled(windows.merge(y, self.window, batch, *size), self.shift)


class ChannelAttention(nn.Module):
    """Squeeze and excitation: a gate per channel from the map's global average."""

    average: Callable[[Tensor], Tensor] | None = None
    """Where set, it takes the place of the global average: (B, C, H, W) to (B, C, 1, 1)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def gate(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 1, 1), in (0, 1).

        The average is one over tokens, and the cast comes last: TensorRT stores the whole map in
        fp32 for a pooling, and for a cast that the gate's product has too.
        """
        if self.average is None:
            mean = entering(to_tokens(x), self.attention[1]).mean(1)[..., None, None]
        else:
            mean = entering(self.average(x), self.attention[1])
        gate: Tensor = self.attention[1:](mean)
        return gate


class CAB(nn.Module):
    """Channel attention block: two convolutions and a gate, times alpha."""

    def __init__(self, config: HATConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(config.embed_dim, config.cab_channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(config.cab_channels, config.embed_dim, 3, padding=1),
        ]
        if config.squeeze_channels:
            layers.append(ChannelAttention(config.embed_dim, config.squeeze_channels))
        self.cab = nn.Sequential(*layers)
        self.conv_scale = config.conv_scale

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """(B, H * W, C) to the same, alpha included (on the gate, where it costs nothing)."""
        y = self.cab[:3](to_map(entering(x, self.cab[0]), size))
        last = self.cab[-1]
        gate = last.gate(y) * self.conv_scale if isinstance(last, ChannelAttention) else None
        return to_tokens(y * (self.conv_scale if gate is None else gate))


class MLP(nn.Module):
    """Two linear layers with a GELU (erf) between."""

    def __init__(self, config: HATConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.mlp_channels)
        self.fc2 = nn.Linear(config.mlp_channels, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(entering(x, self.fc1))))


class HAB(nn.Module):
    """Hybrid attention block: window attention and CAB side by side, then an MLP."""

    def __init__(self, config: HATConfig, heads: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim)
        self.attn = WindowAttention(config, heads, shift)
        self.conv_block = CAB(config) if config.cab_channels else None
        self.norm2 = nn.LayerNorm(config.embed_dim)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, size: Size, edge_masks: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attn(normed, size, edge_masks)
        if self.conv_block is not None:
            x = x + self.conv_block(normed, size)
        return x + self.mlp(self.norm2(x))


class OCAB(Attention):
    """Overlapping cross attention: queries of a window, keys and values of a larger one."""

    def __init__(self, config: HATConfig, heads: int) -> None:
        window, overlap = config.window_size, config.overlap_size
        index = windows.overlapping_position_index(window, overlap)
        super().__init__(config, index, (window + overlap - 1) ** 2, heads)
        self.window = window
        self.overlap = overlap
        self.norm1 = nn.LayerNorm(config.embed_dim)
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=config.qkv_bias)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.norm2 = nn.LayerNorm(config.embed_dim)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        x = x + self._attend(self.norm1(x), size)
        return x + self.feed_forward(self.norm2(x), size)

    def feed_forward(self, x: Tensor, size: Size) -> Tensor:
        """The MLP, which does not look at the size."""
        return self.mlp(x)

    def _attend(self, x: Tensor, size: Size) -> Tensor:
        qkv = self.qkv(entering(x, self.qkv)).unflatten(1, size)
        channels = qkv.shape[-1] // 3
        q, kv = qkv.split([channels, 2 * channels], -1)
        q = split_heads(windows.partition(q, self.window), self.heads)
        k, v = (
            split_heads(part, self.heads)
            for part in windows.overlapping(kv, self.window, self.overlap).chunk(2, -1)
        )
        y = self.attend(q, k, v, self.bias()).transpose(1, 2).flatten(2)
        y = self.proj(entering(y, self.proj))
        return windows.merge(y, self.window, len(x), *size).flatten(1, 2)
