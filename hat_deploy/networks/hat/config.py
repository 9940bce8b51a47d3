"""The shape of a HAT: every number its weights imply, and four values that they do not."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hat_deploy.networks.fields import differences, from_json, to_json
from hat_deploy.networks.hat import cost
from hat_deploy.networks.hat.dimensions import Dimensions
from hat_deploy.networks.limits import MAX_SCALE, MAX_WINDOW
from hat_deploy.networks.points import Group, Point, entering, of_stream
from hat_deploy.networks.unstored import UNSTORED, is_finite_number

if TYPE_CHECKING:
    from typing import Self

    from hat_deploy.networks.cost import Cost, Memory
    from hat_deploy.networks.shape import Shape

NAME = "HAT"
"""Its name in artifacts."""
SCALES = (1, 2, 3, 4, 8, MAX_SCALE)
"""What the upsampler can do: pixel shuffles by 2, one after another, or one by 3."""
MAX_SIZE = 65_536
"""The largest number of channels: the published networks have at most 360."""
MAX_OVERLAP = 128
"""The published networks have 24, one and a half windows."""
MAX_BLOCKS = 1024
"""RHAGs, and HABs in all of them: HAT-L has 12 and 72. Deeper ones take minutes to build."""


@dataclass(frozen=True, kw_only=True)
class HATConfig(Dimensions):
    """What it takes to build a HAT that fits a given set of weights.

    Sizes are stored as the weights have them (channels), not as the ratios they were
    once computed from: ``180 // compress_ratio`` cannot be inverted without guessing.
    Use :meth:`published` to start from ratios.
    """

    conv_scale: float = 0.01
    """Weight of CAB beside window attention, alpha. Not stored in checkpoints."""
    img_range: float = 1.0
    """Factor on the mean-free input. Not stored in checkpoints."""
    qk_scale: float | None = None
    """Factor on q before it meets k; None: 1 / sqrt(channels of a head). Not stored in
    checkpoints."""
    shift: bool = True
    """Whether every other HAB shifts its windows. Not stored in checkpoints: the authors' code
    drops it where ``img_size`` is the window's side."""

    def __post_init__(self) -> None:
        if type(self.scale) is not int or self.scale not in SCALES:
            known = ", ".join(map(str, SCALES[:-1]))
            raise ValueError(f"scale is {_brief(self.scale)}; a HAT has {known} or {SCALES[-1]}")
        self._require_counts()
        self._require_switches()
        if not self.depths or len(self.depths) != len(self.num_heads):
            raise ValueError(
                f"depths {_brief(self.depths)} and num_heads {_brief(self.num_heads)} must name "
                "the same RHAGs"
            )
        if sum(self.depths) > MAX_BLOCKS:
            raise ValueError(
                f"depths add up to {sum(self.depths)} HABs; expected at most {MAX_BLOCKS}"
            )
        if any(self.embed_dim % heads for heads in self.num_heads):
            raise ValueError(
                f"embed_dim {self.embed_dim} is not divisible by num_heads {_brief(self.num_heads)}"
            )
        if self.overlap_size and (
            self.overlap_size < self.window_size or (self.overlap_size - self.window_size) % 2
        ):
            raise ValueError(
                f"overlap_size {self.overlap_size} must exceed window_size "
                f"{self.window_size} by an even number"
            )
        if self.ast and not (self.overlap_size and self.embed_dim >= 4):
            raise ValueError("AST is part of OCAB: ast needs overlap_size, and 4 channels")
        if self.squeeze_channels and not self.cab_channels:
            raise ValueError(
                "channel attention is part of CAB: squeeze_channels needs cab_channels"
            )
        if not is_finite_number(self.conv_scale):
            raise ValueError(f"conv_scale is {_brief(self.conv_scale)}; it must be finite")
        if not is_finite_number(self.img_range) or self.img_range <= 0:
            raise ValueError(
                f"img_range is {_brief(self.img_range)}; it must be positive and finite"
            )
        if self.qk_scale is not None and not (is_finite_number(self.qk_scale) and self.qk_scale):
            raise ValueError(f"qk_scale is {_brief(self.qk_scale)}; it must be finite and not 0")
        if not isinstance(self.shift, bool):
            raise ValueError(f"shift is {_brief(self.shift)}; it must be true or false")

    def _require_counts(self) -> None:
        """Sizes are whole numbers from 1 up to a limit; those of optional parts may be 0."""
        limits = {"window_size": MAX_WINDOW, "overlap_size": MAX_OVERLAP}
        optional = ("overlap_size", "cab_channels", "squeeze_channels")
        required = (
            "in_channels",
            "embed_dim",
            "window_size",
            "mlp_channels",
            "upsampler_channels",
        )
        for name in required + optional:
            least, most = int(name in required), limits.get(name, MAX_SIZE)
            _require_count(name, getattr(self, name), least, most)
        for name in ("depths", "num_heads"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) > MAX_BLOCKS:
                raise ValueError(
                    f"{name} is {_brief(values)}; expected a whole number for each of at most "
                    f"{MAX_BLOCKS} RHAGs"
                )
            for value in values:
                _require_count(name, value, 1, MAX_SIZE)

    def _require_switches(self) -> None:
        for name in ("qkv_bias", "patch_norm", "body_conv", "ast"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} is {_brief(getattr(self, name))}; expected true or false")

    @classmethod
    def published(
        cls,
        scale: int,
        *,
        embed_dim: int = 180,
        depths: tuple[int, ...] = (6,) * 6,
        num_heads: int = 6,
        window_size: int = 16,
        overlap_ratio: float = 0.5,
        compress_ratio: int = 3,
        squeeze_factor: int = 30,
        mlp_ratio: float = 2.0,
        in_channels: int = 3,
        ocab: bool = True,
        cab: bool = True,
        channel_attention: bool = True,
        ast: bool = False,
        conv_scale: float = 0.01,
        img_range: float = 1.0,
        qk_scale: float | None = None,
        shift: bool = True,
    ) -> Self:
        """A config from the ratios that the paper and the authors' option files use.

        ``ocab``, ``cab`` and ``channel_attention`` are the switches of the paper's ablation.
        """
        return cls(
            scale=scale,
            in_channels=in_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=(num_heads,) * len(depths),
            window_size=window_size,
            overlap_size=window_size + int(window_size * overlap_ratio) if ocab else 0,
            cab_channels=embed_dim // compress_ratio if cab else 0,
            squeeze_channels=embed_dim // squeeze_factor if cab and channel_attention else 0,
            mlp_channels=int(embed_dim * mlp_ratio),
            ast=ast,
            conv_scale=conv_scale,
            img_range=img_range,
            qk_scale=qk_scale,
            shift=shift,
        )

    @property
    def architecture(self) -> str:
        """``HAT``."""
        return NAME

    @property
    def channels(self) -> int:
        """Channels of the image in and out."""
        return self.in_channels

    @property
    def window(self) -> int:
        """Heights, widths and offsets of tiles must be multiples of it."""
        return self.window_size

    def cost(self, height: int, width: int) -> Cost:
        """See :func:`hat_deploy.networks.hat.cost.cost`."""
        return cost.cost(self, height, width)

    def memory(
        self, height: int, width: int, *, element_size: int = 4, fused: bool = True
    ) -> Memory:
        """See :func:`hat_deploy.networks.hat.cost.memory`."""
        return cost.memory(self, height, width, element_size=element_size, fused=fused)

    def process_memory(self, height: int, width: int, *, batch: int = 1) -> dict[str, int]:
        """See :func:`hat_deploy.networks.hat.cost.process_memory`."""
        return cost.process_memory(self, height, width, batch=batch)

    @property
    def unstored(self) -> str:
        """The values that no checkpoint stores, for people."""
        qk = "1 / sqrt(channels of a head)" if self.qk_scale is None else f"{self.qk_scale:g}"
        shift = "shifted windows" if self.shift else "no shifted windows"
        return (
            f"conv_scale {self.conv_scale:g}, img_range {self.img_range:g}, qk_scale {qk}, {shift}"
        )

    @property
    def in_use(self) -> dict[str, tuple[float, ...]]:
        """Values that HATs are trained with. Of the shipped model, 0.1 for ``conv_scale`` or
        other shifts move the misfit by less than half, which other reasons do too."""
        alpha = {"conv_scale": (0.01, 1.0)} if self.cab_channels else {}
        return {**alpha, "img_range": (1.0, 255.0)}

    def told(self, **values: Any) -> Self:
        """With other values of what no checkpoint stores."""
        return replace(self, **values)

    @property
    def expanded_bytes(self) -> int:
        """Bytes of the expanded position biases, float32, and of their indices, int64."""
        queries = self.window_size**2
        return sum(
            (4 * heads + 8) * queries * (depth * queries + self.overlap_size**2)
            for depth, heads in zip(self.depths, self.num_heads, strict=True)
        )

    def points(self) -> tuple[Point, ...]:
        """The stream after every HAB, OCAB and RHAG, and the values around them."""
        groups = [self._group(number) for number in range(len(self.depths))]
        stages = len(cost.upsampling_factors(self.scale))
        closing = (
            entering("conv_after_body", "conv_before_upsample", -stages - 2),
            entering("conv_before_upsample", "upsample", -stages - 1),
        )
        return of_stream(groups, closing, patch_norm=self.patch_norm)

    def _group(self, number: int) -> Group:
        inside = f"layers.{number}.residual_group"
        blocks = [(f"{inside}.blocks.{i}", "HAB") for i in range(self.depths[number])]
        if self.overlap_size:
            blocks.append((f"{inside}.overlap_attn", "OCAB"))
        return Group(name=f"layers.{number}", kind="RHAG", blocks=tuple(blocks))

    def differences(self, other: Shape) -> dict[str, tuple[object, object]]:
        """Values of the two that are not equal, by name: this one's and the other's."""
        return differences(self, other)

    @property
    def any_size(self) -> bool:
        """Whether an artifact may leave height and width open."""
        return True

    @property
    def variant(self) -> str:
        """``HAT-S``, ``HAT``, ``HAT-L`` or ``HAT-S with AST`` where the shape is a published one,
        else ``custom``."""
        for name, reference in (*VARIANTS.items(), ("HAT-S with AST", HAT_S_AST)):
            free = {field: getattr(self, field) for field in ("scale", "in_channels", *UNSTORED)}
            if replace(reference, **free) == self:
                return name
        return "custom"

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON types.

        ``qk_scale``, ``shift`` and ``ast`` are left out where they are as published: earlier
        releases do not know them, and what they wrote stays equal.
        """
        values = to_json(self, NAME)
        if self.qk_scale is None:
            del values["qk_scale"]
        if self.shift:
            del values["shift"]
        if not self.ast:
            del values["ast"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: a field is unknown, missing or out of range.
        """
        return from_json(cls, NAME, values)


def _require_count(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(
            f"{name} is {_brief(value)}; expected a whole number from {least} to {most}"
        )


def _brief(value: object) -> str:
    """A value that may come from anywhere, shortened for a message."""
    return reprlib.repr(value)


VARIANTS: dict[str, HATConfig] = {
    "HAT-S": HATConfig.published(4, embed_dim=144, compress_ratio=24, squeeze_factor=24),
    "HAT": HATConfig.published(4),
    "HAT-L": HATConfig.published(4, depths=(6,) * 12),
}
"""The published shapes, at x4; scale, input channels and what is not stored are free."""
HAT_S_AST = HATConfig.published(
    4, embed_dim=144, compress_ratio=24, squeeze_factor=24, overlap_ratio=0.75, ast=True
)
"""The published shape of HAT with AST, at x4."""
