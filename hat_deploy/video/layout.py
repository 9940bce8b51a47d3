"""How the samples of a frame lie in planes, told by FFmpeg's name of its pixel format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from hat_deploy.errors import PictureError, needed_for

with needed_for("Video"):
    import av

Plane = npt.NDArray[Any]
"""(H, W) uint8 or uint16, one component of a frame."""
_SUBSAMPLED = {
    (1, 1): "444",
    (2, 1): "422",
    (2, 2): "420",
    (1, 2): "440",
    (4, 1): "411",
    (4, 4): "410",
}
"""Luma samples for each chroma sample, across and down."""
_REPACKED = (
    *("nv12", "nv21", "nv16", "p010le", "p012le", "yuyv422", "uyvy422", "yvyu422"),
    *("rgb24", "bgr24", "rgb0", "bgr0", "0rgb", "0bgr", "rgba", "bgra", "argb", "abgr"),
    *("rgb48le", "rgb48be", "pal8"),
)
"""Packed formats that FFmpeg takes apart without computing anything; a test holds that."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Planes of one sample each, little-endian: what frames are read as and written as."""

    kind: Literal["yuv", "rgb", "gray"]
    bits: int
    """Of a sample: 8 to 16."""
    across: int = 1
    """Luma samples for each chroma sample in a row."""
    down: int = 1
    """The same in a column."""
    alpha: bool = False

    @classmethod
    def of(cls, name: str) -> Self:
        """The planes that hold all of a pixel format.

        Raises:
            PictureError: there are none.
        """
        try:
            form = av.VideoFormat(name, 64, 64)
        except ValueError as error:
            raise PictureError(f"{name!r} is not a pixel format that FFmpeg knows") from error
        parts = form.components
        planar = len({part.plane for part in parts}) == len(parts)
        if not (planar or name in _REPACKED) or form.is_bayer:
            raise PictureError(f"its pixel format is {name}, which cannot be read here")
        if form.has_palette:
            return cls(kind="rgb", bits=8)
        alpha = any(part.is_alpha for part in parts)
        bits = parts[0].bits
        if not 8 <= bits <= 16 or len({part.bits for part in parts}) > 1:
            raise PictureError(f"its pixel format is {name}, which cannot be read here")
        if form.is_rgb or len(parts) - alpha == 1:
            return cls(kind="rgb" if form.is_rgb else "gray", bits=bits, alpha=alpha)
        across, down = 64 // form.chroma_width(64), 64 // form.chroma_height(64)
        return cls(kind="yuv", bits=bits, across=across, down=down, alpha=alpha)

    @property
    def name(self) -> str:
        """FFmpeg's name of it."""
        deep = f"{self.bits}le" if self.bits > 8 else ""
        if self.kind == "gray":
            return f"gray{deep}"
        a = "a" if self.alpha else ""
        if self.kind == "rgb":
            return f"gbr{a}p{deep}"
        return f"yuv{a}{_SUBSAMPLED[self.across, self.down]}p{deep}"

    @property
    def subsampled(self) -> bool:
        """Whether chroma has fewer samples than luma."""
        return (self.across, self.down) != (1, 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its planes."""
        return np.dtype("uint8" if self.bits == 8 else "<u2")

    @property
    def opaque(self) -> Layout:
        """The same without alpha."""
        return replace(self, alpha=False)

    def chroma_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of its chroma planes."""
        return -(-height // self.down), -(-width // self.across)


def planes_in(frame: av.VideoFrame, layout: Layout) -> tuple[Plane, ...]:
    """Copies of a frame's planes; Y, U, V or G, B, R, then alpha.

    Args:
        layout: that of the frame's format.
    """
    if frame.format.name != layout.name and frame.format.name.replace("yuvj", "yuv") != layout.name:
        same = frame.color_range
        frame = frame.reformat(format=layout.name, src_color_range=same, dst_color_range=same)
    return tuple(_samples(plane, layout).copy() for plane in frame.planes)


def frame_of(planes: tuple[Plane, ...], layout: Layout) -> av.VideoFrame:
    """A new frame with these planes."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, layout.name)
    for plane, samples in zip(frame.planes, planes, strict=True):
        _samples(plane, layout)[...] = samples
    return frame


def _samples(plane: Any, layout: Layout) -> Plane:
    """A view of a plane without what pads its rows."""
    rows = np.frombuffer(plane, layout.dtype).reshape(plane.height, -1)
    return rows[:, : plane.width]
