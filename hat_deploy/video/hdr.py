"""HDR10's statements about a clip: the display it was mastered on, and how bright it gets."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

_RATIONALS = 10
"""In FFmpeg's AVMasteringDisplayMetadata: three primaries and white, x and y, least and most
luminance; two flags follow."""
_MASTERING = struct.Struct(f"={2 * _RATIONALS + 2}i")
_LIGHT = struct.Struct("=2I")


@dataclass(frozen=True, kw_only=True)
class Hdr:
    """SMPTE ST 2086 and CTA-861.3, as far as a clip has them."""

    mastering: tuple[Fraction, ...] | None = None
    """x and y of red, green, blue and white, then least and most luminance in cd/m2."""
    light: tuple[int, int] | None = None
    """MaxCLL and MaxFALL in cd/m2."""

    @classmethod
    def of(cls, side_data: Iterable[Any]) -> Self:
        """What a decoded frame carries.

        Args:
            side_data: of the frame.
        """
        found = {data.type.name: bytes(data) for data in side_data}
        return cls(
            mastering=_mastering(found.get("MASTERING_DISPLAY_METADATA", b"")),
            light=_light(found.get("CONTENT_LIGHT_LEVEL", b"")),
        )

    def __bool__(self) -> bool:
        return self.mastering is not None or self.light is not None

    def options(self, codec: str) -> dict[str, str]:
        """What an encoder's own parameters say of it.

        Args:
            codec: ``h264``, ``h265`` or ``av1``.
        """
        options = {}
        if self.mastering is not None:
            options[_NAMES[codec][0]] = self._display(whole=codec != "av1")
        if self.light is not None:
            options[_NAMES[codec][1]] = f"{self.light[0]},{self.light[1]}"
        return options

    def _display(self, *, whole: bool) -> str:
        """Primaries, white and luminance as x265 writes them.

        Args:
            whole: in units of 0.00002 and 0.0001 cd/m2; else as decimal numbers.
        """
        assert self.mastering is not None

        def shown(value: Fraction, units: int) -> str:
            return str(round(value * units)) if whole else f"{float(value):.6f}"

        values = [shown(value, 50_000) for value in self.mastering[:8]]
        least, most = (shown(value, 10_000) for value in self.mastering[8:])
        red, green, blue, white = (f"({x},{y})" for x, y in zip(*[iter(values)] * 2, strict=True))
        return f"G{green}B{blue}R{red}WP{white}L({most},{least})"


_NAMES = {
    "h264": ("mastering-display", "cll"),
    "h265": ("master-display", "max-cll"),
    "av1": ("mastering-display", "content-light"),
}
"""The parameters of x264, x265 and SVT-AV1."""


def _mastering(data: bytes) -> tuple[Fraction, ...] | None:
    if len(data) < _MASTERING.size:
        return None
    numbers = _MASTERING.unpack_from(data)
    pairs = list(zip(numbers[0:-2:2], numbers[1:-2:2], strict=True))
    if not all(numbers[-2:]) or any(below == 0 for _, below in pairs):
        return None
    return tuple(Fraction(*pair) for pair in pairs)


def _light(data: bytes) -> tuple[int, int] | None:
    if len(data) < _LIGHT.size:
        return None
    most, average = _LIGHT.unpack_from(data)
    return (most, average) if most or average else None
