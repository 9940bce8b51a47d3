"""The size that a result is to have, where that is not the network's own factor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hat_deploy.errors import PictureError, UsageError
from hat_deploy.geometry import image_size

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True, kw_only=True)
class TargetSize:
    """A result's size; the shape of the image is kept.

    One of the fields is given, or width and height together: a box that the result fills as far
    as it can.

    Raises:
        UsageError: none is given, several are, or one is not positive.
    """

    width: int | None = None
    """Pixels."""
    height: int | None = None
    """Pixels."""
    longest: int | None = None
    """Pixels of the longer side."""
    megapixels: float | None = None
    """Millions of pixels, at most."""
    scale: float | None = None
    """Factor on both sides."""

    def __post_init__(self) -> None:
        given = self.given
        if len(given) != 1 and set(given) != {"width", "height"}:
            named = ", ".join(given) or "none"
            raise UsageError(
                "a result's size is one of width, height, longest, megapixels and scale, or width "
                f"and height together; {named} was given"
            )
        for name, value in given.items():
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name} is {value:g}; it must be a positive number")

    @property
    def given(self) -> Mapping[str, Any]:
        """What was asked for, as JSON types."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def mark(self) -> str:
        """What default names of results carry.

        >>> TargetSize(scale=1.5).mark, TargetSize(width=1920).mark, TargetSize(megapixels=8).mark
        ('x1.5', '1920w', '8mp')
        """
        units = {"width": "w", "height": "h", "longest": "px", "megapixels": "mp"}
        if self.scale is not None:
            return f"x{self.scale:g}"
        return "-".join(f"{value:g}{units[name]}" for name, value in self.given.items())

    def of(self, height: int, width: int) -> Size:
        """The size of the result of an image, rounded to whole pixels, at least 1x1."""
        factor = self._factor(height, width)
        down = math.floor if self.megapixels is not None else _nearest
        return max(1, down(height * factor)), max(1, down(width * factor))

    def _factor(self, height: int, width: int) -> Fraction:
        if self.scale is not None:
            return Fraction(self.scale)
        if self.longest is not None:
            return Fraction(self.longest, max(height, width))
        if self.megapixels is not None:
            return Fraction(math.sqrt(self.megapixels * 1e6 / (height * width)))
        asked = ((self.width, width), (self.height, height))
        return min(Fraction(side, have) for side, have in asked if side is not None)


@dataclass(frozen=True)
class Steps:
    """How an image gets its size: the network's passes, and a resize where they pass the target."""

    sizes: tuple[Size, ...]
    """Of the image and after each pass."""
    final: Size
    """Of the result."""

    @property
    def passes(self) -> int:
        """How often the network runs; 0 where the image only shrinks."""
        return len(self.sizes) - 1

    @property
    def results(self) -> tuple[Size, ...]:
        """Of everything that is made of the image, in order."""
        resized = () if self.sizes[-1] == self.final else (self.final,)
        return (*self.sizes[1:], *resized)

    def check(self) -> None:
        """Refuse a target that the network cannot reach.

        Raises:
            PictureError: the network does not enlarge, and the target is larger than the image.
        """
        if any(wanted > had for wanted, had in zip(self.final, self.sizes[-1], strict=True)):
            raise PictureError(
                f"it has {image_size(*self.sizes[0])} pixels, and {image_size(*self.final)} were "
                "asked for: this network does not enlarge, so choose one that does"
            )


def steps_to(target: TargetSize | None, size: Size, scale: int) -> Steps:
    """The passes of a network of a factor, as few as reach the target.

    A network that does not enlarge runs once. One that does runs as long as the image is smaller
    than the target, so not at all where the result is no larger than the image.

    Args:
        target: None for the network's own factor.
        size: of the image.
        scale: of the network.
    """
    sizes = [size]
    if target is None or scale == 1:
        sizes.append((size[0] * scale, size[1] * scale))
    final = sizes[-1] if target is None else target.of(*size)
    while scale > 1 and (sizes[-1][0] < final[0] or sizes[-1][1] < final[1]):
        sizes.append((sizes[-1][0] * scale, sizes[-1][1] * scale))
    return Steps(tuple(sizes), final)


def mark_of(target: TargetSize | None, scale: int) -> str:
    """What default names of results end in.

    >>> mark_of(None, 4)
    '-x4'
    """
    return f"-x{scale}" if target is None else f"-{target.mark}"


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
