"""An image in memory: pixels, and what a file said about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]
"""uint8 or uint16: (H, W) gray, (H, W, 3) RGB, (H, W, 4) RGBA with straight alpha."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp")
"""What the names of image files end in, in any case."""
LUMA = np.array([0.299, 0.587, 0.114])
"""BT.601 weights: how three equal-valued channels become gray again."""


@dataclass(frozen=True)
class Density:
    """How close pixels lie on paper."""

    x: float
    """Pixels per inch along a row."""
    y: float
    """Pixels per inch along a column."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file says about its pixels, each as the bare block that the standard defines."""

    icc: bytes | None = None
    """Colour profile; always one for the kind of pixels it comes with (gray or RGB)."""
    exif: bytes | None = None
    """EXIF from its byte-order mark on; its orientation is 1, for it has been applied, and it
    has no thumbnail."""
    xmp: bytes | None = None
    """XMP packet, UTF-8; any orientation in it is 1 and it has no thumbnails."""
    density: Density | None = None
    """The resolution that the file itself states, or else its EXIF."""
    cicp: bytes | None = None
    """A PNG's code points of its colour coding, 4 bytes; PNG alone can keep them."""


@dataclass(frozen=True, kw_only=True)
class Animation:
    """How the frames of an image follow each other."""

    durations: tuple[int, ...]
    """Milliseconds of each frame."""
    loops: int
    """How often they are played; 0 for ever."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """An upright image in memory, or the frames of an animation."""

    pixels: Pixels
    """uint8 or uint16: (H, W) gray, (H, W, 3) RGB, (H, W, 4) RGBA with straight alpha. The frames
    of an animation lie one below the other: (frames * H, W, ...)."""
    animation: Animation | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    """What decoding changed, for the user to read: ``palette expanded`` and the like."""

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        layout = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
        if not layout or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"an image must be uint8 or uint16 of (H, W), (H, W, 3) or (H, W, 4), "
                f"not {dtype} of {shape}"
            )
        if shape[0] % self._count:
            raise ValueError(f"{shape[0]} rows are not {self._count} frames of one height")

    @property
    def frames(self) -> list[Pixels]:
        """Views of the frames; an image that does not move is its only one."""
        return frames_of(self.pixels, self._count)

    @property
    def _count(self) -> int:
        return len(self.animation.durations) if self.animation else 1


def frames_of(pixels: Pixels, count: int) -> list[Pixels]:
    """Views of so many frames of one height that lie one below the other."""
    height = len(pixels) // count
    return [pixels[top : top + height] for top in range(0, len(pixels), height)]
