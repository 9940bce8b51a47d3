"""What a network by spandrel is to the rest of the program, apart from its weights.

Needs neither torch nor spandrel: an artifact's description is read back into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from hat_deploy.geometry import round_up
from hat_deploy.networks.cost import Cost, Memory, Part, pixels_of, process_memory
from hat_deploy.networks.fields import differences
from hat_deploy.networks.shape import GRID

if TYPE_CHECKING:
    from typing import Self

    from hat_deploy.networks.points import Point
    from hat_deploy.networks.shape import Shape

LIBRARY = "spandrel"
"""What such a shape's JSON says as its ``library``."""
OF_ANY_SIZE = frozenset({"Compact", "DnCNN", "ESRGAN", "MoSR", "PLKSR", "RCAN", "SPAN"})
"""Architectures of convolutions alone, whose graphs hold for any height and width."""


@dataclass(frozen=True, kw_only=True)
class SpandrelShape:
    """A network that spandrel built, as it was measured."""

    architecture: str
    """Spandrel's name of it: ``ESRGAN``."""
    scale: int
    """Upscaling factor; 1 for a network that does not enlarge."""
    channels: int
    """Channels of the image in and out."""
    window: int
    """Heights, widths and offsets of tiles must be multiples of it; see :func:`window_for`."""
    square: bool
    """Whether it computes squares only: what is not square is padded to one."""
    parameters: int
    """Learned numbers."""
    side: int
    """Side of the square input that was counted; so was one of twice that side."""
    multi_adds: tuple[int, int]
    """Of convolutions and matrix products, at either side."""
    activations: tuple[int, int]
    """Bytes of float32 values alive at once, at either side."""

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, str) or not self.architecture:
            raise ValueError("architecture is no name")
        for name in ("scale", "channels", "window", "side"):
            _require_whole(name, getattr(self, name), 1)
        _require_whole("parameters", self.parameters, 0)
        for name in ("multi_adds", "activations"):
            pair = getattr(self, name)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ValueError(f"{name} is not two numbers")
            for count in pair:
                _require_whole(name, count, 0)

    @property
    def variant(self) -> str:
        """The architecture."""
        return self.architecture

    @property
    def any_size(self) -> bool:
        """Whether an artifact may leave height and width open."""
        return self.architecture in OF_ANY_SIZE and not self.square

    @property
    def unstored(self) -> str:
        """Nothing: spandrel reads all that it uses off the weights."""
        return ""

    @property
    def in_use(self) -> dict[str, tuple[float, ...]]:
        """None."""
        return {}

    def told(self, **values: Any) -> Self:
        """Itself, where there is nothing to be told.

        Raises:
            ValueError: there is.
        """
        if values:
            raise ValueError(
                f"{', '.join(sorted(values))}: this network ({self.architecture}) comes by "
                "spandrel and takes no such value: leave it out"
            )
        return self

    @property
    def expanded_bytes(self) -> int:
        """None."""
        return 0

    def points(self) -> tuple[Point, ...]:
        """None: what its parts mean is not known here."""
        return ()

    def cost(self, height: int, width: int) -> Cost:
        """Multi-adds by a straight line in the pixels through the two that were counted.

        Raises:
            ValueError: a size is not a positive multiple of ``window``.
        """
        parts = {"network": Part(self.parameters, self._at(self.multi_adds, height, width))}
        counted = f"counted at {self.side} and {2 * self.side}, convolutions and matrix products"
        return Cost(height, width, parts, counted)

    def memory(
        self, height: int, width: int, *, element_size: int = 4, fused: bool = True
    ) -> Memory:
        """As :meth:`hat_deploy.networks.Shape.memory`; ``fused`` changes nothing."""
        alive = self._at(self.activations, height, width)
        return Memory(
            weights=self.parameters * element_size,
            position_biases=0,
            activations=alive * element_size // 4,
            moment="its busiest layer",
        )

    def process_memory(self, height: int, width: int, *, batch: int = 1) -> dict[str, int]:
        """See :func:`hat_deploy.networks.cost.process_memory`."""
        return process_memory(self.parameters, batch * self._at(self.activations, height, width))

    def to_dict(self) -> dict[str, Any]:
        """The shape as JSON types."""
        values = {"library": LIBRARY} | asdict(self)
        return {
            n: list(value) if isinstance(value, tuple) else value for n, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: a field is unknown, missing or out of range.
        """
        own = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - own - {"library"}):
            raise ValueError(f"unknown fields of a network by spandrel: {unknown}")
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name != "library"
        }
        try:
            return cls(**read)
        except TypeError as error:
            raise ValueError(f"incomplete network by spandrel: {error}") from error

    def differences(self, other: Shape) -> dict[str, tuple[object, object]]:
        """Values of the two that are not equal, by name: this one's and the other's."""
        return differences(self, other)

    def _at(self, pair: tuple[int, int], height: int, width: int) -> int:
        pixels = pixels_of(height, width, self.window)
        near, far = pair
        slope = (far - near) / (3 * self.side**2)
        return max(0, round(near + slope * (pixels - self.side**2)))


def window_for(minimum: int, multiple: int) -> int:
    """The multiple that keeps every size at least the minimum, and at least ``GRID``."""
    return round_up(max(minimum, GRID), multiple)


def _require_whole(name: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r:.40}; expected a whole number from {least} up")
