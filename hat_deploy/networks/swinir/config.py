"""The shape of a SwinIR: every number its weights imply, and three values that they do not."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hat_deploy.networks.fields import differences, from_json, to_json
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.points import Group, Point, entering, of_stream
from hat_deploy.networks.swinir import cost
from hat_deploy.networks.swinir.upsamplers import Closing, Upsampler

if TYPE_CHECKING:
    from typing import Self

    from hat_deploy.networks.cost import Cost, Memory
    from hat_deploy.networks.shape import Shape

NAME = "SwinIR"
"""Its name in artifacts."""


@dataclass(frozen=True, kw_only=True)
class SwinIRConfig:
    """What it takes to build a SwinIR that fits a given set of weights."""

    scale: int
    """Upscaling factor; 1 for denoising and for JPEG artefacts."""
    in_channels: int = 3
    """Channels of the image in and out: 3 for RGB, 1 for gray."""
    embed_dim: int = 180
    """Channels of the residual stream."""
    depths: tuple[int, ...] = (6,) * 6
    """Blocks in each RSTB."""
    num_heads: tuple[int, ...] = (6,) * 6
    """Attention heads in each RSTB; each divides ``embed_dim``."""
    window_size: int = 8
    """Side of an attention window."""
    mlp_channels: int = 360
    """Hidden channels of every MLP."""
    upsampler: str = Upsampler.PIXEL_SHUFFLE
    """A name of :class:`~hat_deploy.networks.swinir.upsamplers.Upsampler`."""
    upsampler_channels: int = 64
    """Channels of the upsampler; 0 where it has none of its own."""
    closing: str = Closing.ONE
    """A name of :class:`~hat_deploy.networks.swinir.upsamplers.Closing`."""
    qkv_bias: bool = True
    """Whether the q, k, v projections have a bias."""
    patch_norm: bool = True
    """Whether a LayerNorm follows the first convolution."""
    img_range: float = 1.0
    """Factor on the mean-free input; 255 for JPEG artefacts. Not stored in checkpoints."""
    qk_scale: float | None = None
    """Factor on q before it meets k; None: 1 / sqrt(channels of a head). Not stored in
    checkpoints."""
    shift: bool = True
    """Whether every other block shifts its windows. Not stored in checkpoints."""

    def __post_init__(self) -> None:
        for name, kind in (("upsampler", Upsampler), ("closing", Closing)):
            known = [*map(str, kind)]
            if getattr(self, name) not in known:
                found = reprlib.repr(getattr(self, name))
                raise ValueError(f"{name} is {found}; a SwinIR has {' or '.join(known)}")
        scales = Upsampler(self.upsampler).scales
        if type(self.scale) is not int or self.scale not in scales:
            raise ValueError(
                f"scale is {reprlib.repr(self.scale)}; with {self.upsampler} a SwinIR has "
                f"{' or '.join(map(str, scales))}"
            )
        if Upsampler(self.upsampler).has_channels != (self.upsampler_channels != 0):
            expected = "some" if Upsampler(self.upsampler).has_channels else "0"
            raise ValueError(
                f"upsampler_channels is {reprlib.repr(self.upsampler_channels)}; {self.upsampler} "
                f"has {expected}"
            )
        if self.closing == Closing.THREE and type(self.embed_dim) is int and self.embed_dim < 4:
            raise ValueError(f"embed_dim is {self.embed_dim}; {self.closing} takes at least 4")
        self.body  # noqa: B018 - what the blocks have in common with a HAT's is checked there

    @cached_property
    def body(self) -> HATConfig:
        """The blocks: those of a HAT without CAB and OCAB."""
        return HATConfig(
            scale=self.scale,
            in_channels=self.in_channels,
            embed_dim=self.embed_dim,
            depths=self.depths,
            num_heads=self.num_heads,
            window_size=self.window_size,
            overlap_size=0,
            cab_channels=0,
            squeeze_channels=0,
            mlp_channels=self.mlp_channels,
            # What is enlarged is the image itself where there are no channels between.
            upsampler_channels=self.upsampler_channels or self.in_channels,
            qkv_bias=self.qkv_bias,
            patch_norm=self.patch_norm,
            body_conv=self.closing == Closing.ONE,
            img_range=self.img_range,
            qk_scale=self.qk_scale,
            shift=self.shift,
        )

    @property
    def architecture(self) -> str:
        """``SwinIR``."""
        return NAME

    @property
    def channels(self) -> int:
        """Channels of the image in and out."""
        return self.in_channels

    @property
    def window(self) -> int:
        """Heights, widths and offsets of tiles must be multiples of it."""
        return self.window_size

    @property
    def any_size(self) -> bool:
        """Whether an artifact may leave height and width open."""
        return True

    @property
    def variant(self) -> str:
        """``SwinIR-S``, ``-M`` or ``-L`` where the body is a published one, else ``custom``."""
        body = (self.embed_dim, self.depths, self.num_heads, self.mlp_channels, self.closing)
        plain = self.qkv_bias and self.patch_norm
        return VARIANTS.get(body, "custom") if plain else "custom"

    @property
    def unstored(self) -> str:
        """The values that no checkpoint stores, for people."""
        qk = "1 / sqrt(channels of a head)" if self.qk_scale is None else f"{self.qk_scale:g}"
        shift = "shifted windows" if self.shift else "no shifted windows"
        return f"img_range {self.img_range:g}, qk_scale {qk}, {shift}"

    @property
    def in_use(self) -> dict[str, tuple[float, ...]]:
        """Values that SwinIRs are trained with."""
        return {"img_range": (1.0, 255.0)}

    def told(self, **values: Any) -> Self:
        """With other values of what no checkpoint stores.

        Raises:
            ValueError: one is out of range, or is ``conv_scale``, which no SwinIR has.
        """
        if "conv_scale" in values:
            raise ValueError("a SwinIR has no conv_scale: leave it out")
        return replace(self, **values)

    @property
    def expanded_bytes(self) -> int:
        """Bytes of the expanded position biases, float32, and of their indices, int64."""
        return self.body.expanded_bytes

    def points(self) -> tuple[Point, ...]:
        """The stream after every block and RSTB, and the values around them."""
        groups = [self._group(number) for number in range(len(self.depths))]
        return of_stream(groups, [*self._closing_points()], patch_norm=self.patch_norm)

    def _group(self, number: int) -> Group:
        inside = f"layers.{number}.residual_group"
        blocks = tuple((f"{inside}.blocks.{i}", "STL") for i in range(self.depths[number]))
        return Group(name=f"layers.{number}", kind="RSTB", blocks=blocks)

    def _closing_points(self) -> list[Point]:
        """What enters each module of the reconstruction, which leaves the one before it."""
        modules = Upsampler(self.upsampler).modules(self.scale)
        counts = [count for _, count in modules]
        names = ["conv_after_body", *(name for name, _ in modules)]
        return [
            entering(names[i], module, -sum(counts[i:])) for i, (module, _) in enumerate(modules)
        ]

    def cost(self, height: int, width: int) -> Cost:
        """See :func:`hat_deploy.networks.swinir.cost.cost`."""
        return cost.cost(self.body, self.upsampler, self.closing, height, width)

    def memory(
        self, height: int, width: int, *, element_size: int = 4, fused: bool = True
    ) -> Memory:
        """As :func:`hat_deploy.networks.hat.cost.memory`."""
        found = self.body.memory(height, width, element_size=element_size, fused=fused)
        return replace(found, weights=self.cost(height, width).parameters * element_size)

    def process_memory(self, height: int, width: int, *, batch: int = 1) -> dict[str, int]:
        """As :func:`hat_deploy.networks.hat.cost.process_memory`."""
        return self.body.process_memory(height, width, batch=batch)

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON types."""
        return to_json(self, NAME)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: a field is unknown, missing or out of range.
        """
        return from_json(cls, NAME, values)

    def differences(self, other: Shape) -> dict[str, tuple[object, object]]:
        """Values of the two that are not equal, by name: this one's and the other's."""
        return differences(self, other)


VARIANTS: dict[tuple[object, ...], str] = {
    (60, (6,) * 4, (6,) * 4, 120, Closing.ONE): "SwinIR-S",
    (180, (6,) * 6, (6,) * 6, 360, Closing.ONE): "SwinIR-M",
    (240, (6,) * 9, (8,) * 9, 480, Closing.THREE): "SwinIR-L",
}
"""The published bodies; the window, the upsampler, the scale and the channels are free."""
