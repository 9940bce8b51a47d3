"""Images under a slider and error maps under a grid: what the templates need to show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hat_deploy.engines.base import Array
from hat_deploy.reports.pixels import HeatMap, colour_bar, data_uri

_COMFORTABLE = 800
"""Width in CSS pixels that small images are enlarged towards, by a whole factor."""
_LARGEST_ZOOM = 4


@dataclass(frozen=True)
class Size:
    """Of an image, in its own pixels."""

    height: int
    width: int

    @property
    def shown(self) -> int:
        """Width where there is room: enlarged by a whole factor."""
        return self.width * max(1, min(_LARGEST_ZOOM, _COMFORTABLE // self.width))


@dataclass(frozen=True, kw_only=True)
class Slider:
    """Images on top of each other, two of them shown."""

    images: Mapping[str, str]
    """Data URIs by name."""
    size: Size
    left: str
    right: str
    caption: str

    def side(self, name: str) -> str:
        """Where an image is shown at first; empty if it is not."""
        return {self.left: "left", self.right: "right"}.get(name, "")


@dataclass(frozen=True, kw_only=True)
class ErrorMap:
    """A heat map, the scale of its colours and the borders between tiles."""

    uri: str
    size: Size
    caption: str
    borders: str
    """An SVG path; empty for none."""
    drawn_on: tuple[int, int]
    """Height and width of what the path is drawn on."""
    colours: str
    brightest: str
    """The error that the brightest colour stands for."""
    amplified: str


def slider(pictures: Mapping[str, Array], caption: str, *, left: str, right: str) -> Slider:
    """Put images under a slider.

    Args:
        pictures: by name, which also describes them: (H, W, 3) uint8. They may be of different
            sizes, but of one shape: all are stretched to the largest.
        caption: what is seen.
        left, right: the names that are shown first.
    """
    height, width = max((picture.shape[:2] for picture in pictures.values()), key=lambda s: s[1])
    return Slider(
        images={name: data_uri(picture) for name, picture in pictures.items()},
        size=Size(height, width),
        left=left,
        right=right,
        caption=caption,
    )


def error_map(
    found: HeatMap, caption: str, borders: str = "", drawn_on: tuple[int, int] = (1, 1)
) -> ErrorMap:
    """Show a heat map.

    Args:
        found: the map.
        caption: what is seen.
        borders: an SVG path of the borders between tiles.
        drawn_on: height and width of what the path is drawn on.
    """
    return ErrorMap(
        uri=data_uri(found.image),
        size=Size(*found.image.shape[:2]),
        caption=caption,
        borders=borders,
        drawn_on=drawn_on,
        colours=colour_bar(),
        brightest=f"{found.full:g}{' or more' if found.largest > found.full else ''}",
        amplified=_amplified(found),
    )


def _amplified(found: HeatMap) -> str:
    text = f"amplified {_times(1 / found.full)} times; largest difference {found.largest:.2g}"
    if found.shrunk > 1:
        text += f"; a point is the largest of {found.shrunk}x{found.shrunk} pixels"
    return text


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:g}"
