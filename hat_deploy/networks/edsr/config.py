"""The shape of an EDSR: the numbers its weights imply, and two values that they do not."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hat_deploy.networks.cost import Cost, Memory, Part, conv, pixels_of, process_memory
from hat_deploy.networks.fields import differences, from_json, to_json
from hat_deploy.networks.shape import GRID
from hat_deploy.networks.unstored import is_finite_number

if TYPE_CHECKING:
    from typing import Self

    from hat_deploy.networks.points import Point
    from hat_deploy.networks.shape import Shape

NAME = "EDSR"
"""Its name in artifacts."""
SCALES = (1, 2, 3, 4, 8, 16)
MAX_BLOCKS = 1024
MAX_FEATURES = 4096
_WIDE = 256
"""Features of the paper's large network, which alone was trained with a ``conv_scale`` of 0.1."""
_VARIANTS = {(64, 16): "EDSR baseline", (_WIDE, 32): "EDSR"}


def published_conv_scale(features: int) -> float:
    """The authors' ``res_scale`` for a network of that width."""
    return 0.1 if features == _WIDE else 1.0


@dataclass(frozen=True, kw_only=True)
class EDSRConfig:
    """What it takes to build an EDSR that fits a given set of weights."""

    scale: int
    """Upscaling factor."""
    features: int = 64
    """Channels of every convolution between the first and the last."""
    blocks: int = 16
    """Residual blocks."""
    conv_scale: float = 1.0
    """Factor on each block's convolutions before they are added; the authors call it
    ``res_scale``. Not stored in checkpoints."""
    img_range: float = 255.0
    """Factor on the mean-free input. Not stored in checkpoints without ``sub_mean``."""

    def __post_init__(self) -> None:
        if type(self.scale) is not int or self.scale not in SCALES:
            raise ValueError(
                f"scale is {reprlib.repr(self.scale)}; an EDSR has "
                f"{', '.join(map(str, SCALES[:-1]))} or {SCALES[-1]}"
            )
        for name, most in (("features", MAX_FEATURES), ("blocks", MAX_BLOCKS)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} is {reprlib.repr(value)}; expected 1 to {most}")
        for name in ("conv_scale", "img_range"):
            if not is_finite_number(getattr(self, name)):
                raise ValueError(f"{name} is {reprlib.repr(getattr(self, name))}; not a number")
        if self.img_range <= 0:
            raise ValueError(f"img_range is {self.img_range:g}; expected more than 0")

    @property
    def architecture(self) -> str:
        """``EDSR``."""
        return NAME

    @property
    def channels(self) -> int:
        """3: the authors' mean is that of RGB."""
        return 3

    @property
    def window(self) -> int:
        """Heights, widths and offsets of tiles must be multiples of it."""
        return GRID

    @property
    def any_size(self) -> bool:
        """Whether an artifact may leave height and width open."""
        return True

    @property
    def variant(self) -> str:
        """``EDSR`` or ``EDSR baseline`` where it is a published one, else ``custom``."""
        return _VARIANTS.get((self.features, self.blocks), "custom")

    @property
    def unstored(self) -> str:
        """The values that no checkpoint stores, for people."""
        return f"conv_scale {self.conv_scale:g}, img_range {self.img_range:g}"

    @property
    def in_use(self) -> dict[str, tuple[float, ...]]:
        """Values that EDSRs are trained with."""
        return {"conv_scale": (0.1, 1.0), "img_range": (1.0, 255.0)}

    def told(self, **values: Any) -> Self:
        """With other values of what no checkpoint stores.

        Raises:
            ValueError: one is out of range, or is of attention, which no EDSR has.
        """
        if strange := [name for name in ("qk_scale", "shift") if name in values]:
            raise ValueError(f"an EDSR has no {' and no '.join(strange)}: leave it out")
        return replace(self, **values)

    @property
    def expanded_bytes(self) -> int:
        """None."""
        return 0

    def points(self) -> tuple[Point, ...]:
        """None: they are found by LayerNorms, which it has not."""
        return ()

    def cost(self, height: int, width: int) -> Cost:
        """Parameters and multi-adds by ``shallow``, ``blocks``, ``closing``, ``reconstruction``.

        Raises:
            ValueError: a size is not a positive multiple of the window.
        """
        pixels, dim = pixels_of(height, width, self.window), self.features
        last = conv(dim, self.channels, pixels * self.scale**2)
        parts = {
            "shallow": conv(self.channels, dim, pixels),
            "blocks": conv(dim, dim, pixels) * (2 * self.blocks),
            "closing": conv(dim, dim, pixels),
            "reconstruction": sum(self._widening(pixels), start=last),
        }
        return Cost(height, width, parts)

    def memory(
        self, height: int, width: int, *, element_size: int = 4, fused: bool = True
    ) -> Memory:
        """As :meth:`hat_deploy.networks.Shape.memory`; ``fused`` changes nothing."""
        cost = self.cost(height, width)
        blocks = 4 * self.features  # of the stream, of the skip around all, and two in a block
        shuffle = 2 * self.features * self.scale**2 if self.scale > 1 else 0
        moment = "reconstruction" if shuffle > blocks else "blocks"
        return Memory(
            weights=cost.parameters * element_size,
            position_biases=0,
            activations=max(shuffle, blocks) * height * width * element_size,
            moment=moment,
        )

    def process_memory(self, height: int, width: int, *, batch: int = 1) -> dict[str, int]:
        """See :func:`hat_deploy.networks.cost.process_memory`."""
        alive = batch * self.memory(height, width).activations
        return process_memory(self.cost(height, width).parameters, alive)

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

    def _widening(self, pixels: int) -> list[Part]:
        """The convolutions before pixel shuffles: one by 3, or each by 2 on what the one before
        made."""
        dim = self.features
        if self.scale == 3:
            return [conv(dim, 9 * dim, pixels)]
        stages = range(self.scale.bit_length() - 1)
        return [conv(dim, 4 * dim, pixels * 4**stage) for stage in stages]
