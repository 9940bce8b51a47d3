"""What an artifact carries to be tested by: some values of the reference on a fixed tile.

The tile is made from whole numbers alone, so that every machine makes the same one. Export runs it
through the network in PyTorch in fp32 and keeps values from all over the result;
:mod:`hat_deploy.engines.self_test` compares them with what an engine computes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where it is used: commands that compute nothing start without it
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

GENERATOR = 1
"""Raised when :func:`fixed_tile` or :func:`_positions` change: older values are then of no use."""
COUNT = 256
"""Values that are kept, 1,280 characters."""


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Values of the reference, and how near an engine must come to them."""

    generator: int
    """The :data:`GENERATOR` they were made with."""
    floor: float
    """The lowest PSNR against the reference, in dB, peak 1, that the artifact was held to."""
    tile: tuple[int, int]
    """Height and width of the :func:`fixed_tile`; an artifact of any size may be run at others."""
    values: str
    """float32, little-endian, in base 85."""

    @classmethod
    def of(cls, result: Array, floor: float, tile: tuple[int, int]) -> SelfTest:
        """From what the reference made of the :func:`fixed_tile`: (C, H, W) float32."""
        values = base64.b85encode(chosen_values(result).astype("<f4").tobytes()).decode()
        return cls(generator=GENERATOR, floor=floor, tile=tile, values=values)

    @classmethod
    def from_dict(cls, found: object) -> SelfTest:
        """From JSON types.

        Raises:
            ValueError: they are none that :meth:`of` gives.
        """
        if not isinstance(found, dict):
            raise ValueError("self_test is no object")
        generator, floor, values = (found.get(n) for n in ("generator", "floor", "values"))
        if type(generator) is not int or generator < 1:
            raise ValueError("self_test has no generator")
        if not isinstance(floor, (int, float)) or not 0 <= floor <= 1000:
            raise ValueError("self_test has no floor in dB")
        if not isinstance(values, str):
            raise ValueError("self_test has no values")
        if generator != GENERATOR:  # whatever a newer release stores there
            return cls(generator=generator, floor=float(floor), tile=(1, 1), values="")
        match found.get("tile"):
            case [int(height), int(width)] if height > 0 < width:
                tile = height, width
            case _:
                raise ValueError("self_test has no tile")
        made = cls(generator=generator, floor=float(floor), tile=tile, values=values)
        if len(base64.b85decode(values)) != 4 * COUNT:
            raise ValueError(f"self_test does not hold {COUNT} values")
        return made

    @property
    def usable(self) -> bool:
        """Whether this release makes the same tile; a newer one may have another."""
        return self.generator == GENERATOR

    @property
    def expected(self) -> Array:
        """The reference's values, :data:`COUNT` float32."""
        import numpy as np

        return np.frombuffer(base64.b85decode(self.values), "<f4").astype(np.float32)


def fixed_tile(height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """The tile, (H, W, C): slopes with some noise, between 64 and 223, so that a network's result
    stays in range and no difference is lost by clamping."""
    import numpy as np

    y, x, c = np.ogrid[:height, :width, :channels]
    slopes = 2 * np.abs((5 * y + 3 * x + 40 * c) % 128 - 64)
    mixed = ((y * width + x) * channels + c).astype(np.uint32)
    for factor in (0x9E3779B1, 0x85EBCA77):  # odd and large: each bit moves many
        mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(factor)
    tile: npt.NDArray[np.uint8] = (64 + slopes + (mixed >> np.uint32(27))).astype(np.uint8)
    return tile


def chosen_values(result: Array) -> Array:
    """Of one computed tile, (C, H, W), the values that :class:`SelfTest` keeps."""
    kept: Array = result.reshape(-1)[_positions(result.size)]
    return kept


def _positions(size: int) -> npt.NDArray[np.int64]:
    """Where the values lie in (C, H, W): one at a scattered place in each of equal stretches."""
    import numpy as np

    number = np.arange(COUNT, dtype=np.int64)
    stretch = max(1, size // COUNT)
    return np.minimum(number * size // COUNT + (number * 2654435761 >> 7) % stretch, size - 1)
