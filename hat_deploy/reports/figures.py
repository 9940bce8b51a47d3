"""Pictures under a slider, and error maps under a grid, as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from hat_deploy.engines.base import Array
from hat_deploy.reports.pixels import HeatMap, colour_bar, data_uri

_COMFORTABLE = 800
"""Width in CSS pixels that small pictures are enlarged towards, by a whole factor."""
_LARGEST_ZOOM = 4


def compare(pictures: Mapping[str, Array], caption: str, *, left: str, right: str) -> str:
    """Pictures on top of each other, two of them shown, under a slider.

    Args:
        pictures: by name, which also describes them: (H, W, 3) uint8. They may be of different
            sizes, but of one shape: all are stretched to the largest.
        caption: what is seen.
        left, right: the names that are shown first.
    """
    height, width = max((picture.shape[:2] for picture in pictures.values()), key=lambda s: s[1])
    sides = {left: "left", right: "right"}
    images = "".join(
        f'<img class="{sides.get(name, "")}" src="{data_uri(picture)}" alt="{escape(name)}" '
        'draggable="false">'
        for name, picture in pictures.items()
    )
    label = f"Border between {left} on the left and {right} on the right"
    choices = "".join(_choice(side, name, list(pictures)) for name, side in sides.items())
    return (
        f'<figure class="compare" style="max-width:{_shown(width)}px">'
        f"{_stage(height, width)}{images}"
        '<div class="divider" aria-hidden="true"></div>'
        '<input type="range" min="0" max="100" step="1" value="50" autocomplete="off" '
        f'aria-label="{escape(label)}"></div>'
        f'<div class="choices">{choices}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def heat(found: HeatMap, caption: str, borders: str = "", size: tuple[int, int] = (1, 1)) -> str:
    """An error map with the scale of its colours.

    Args:
        found: the map.
        caption: what is seen.
        borders: an SVG path of the borders between tiles, which can be switched off.
        size: height and width of what the path is drawn on.
    """
    height, width = found.image.shape[:2]
    toggle = overlay = ""
    if borders:
        toggle = (
            '<label><input class="toggle" type="checkbox" autocomplete="off"> '
            "borders between tiles</label>"
        )
        overlay = (
            f'<svg viewBox="0 0 {size[1]} {size[0]}" preserveAspectRatio="none" '
            f'aria-hidden="true"><path class="borders" d="{borders}"/></svg>'
        )
    return (
        f'<figure class="heat">{toggle}{_stage(height, width)}'
        f'<img src="{data_uri(found.image)}" alt="error map: {escape(caption)}">{overlay}</div>'
        f"{_legend(found)}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _legend(found: HeatMap) -> str:
    amplified = f"amplified {_times(1 / found.full)} times; largest difference {found.largest:.2g}"
    beyond = "or more" if found.largest > found.full else ""
    if found.shrunk > 1:
        amplified += f"; a point is the largest of {found.shrunk}x{found.shrunk} pixels"
    return (
        f'<div class="legend"><span>0</span><span class="bar" style="background:{colour_bar()}">'
        f'</span><span>{found.full:g} {beyond}</span></div><p class="note">{escape(amplified)}</p>'
    )


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:g}"


def _stage(height: int, width: int) -> str:
    return f'<div class="stage" style="aspect-ratio:{width}/{height};max-width:{_shown(width)}px">'


def _shown(width: int) -> int:
    """Of a picture that has room: enlarged by a whole factor."""
    return width * max(1, min(_LARGEST_ZOOM, _COMFORTABLE // width))


def _choice(side: str, chosen: str, names: list[str]) -> str:
    options = "".join(
        f'<option value="{number}"{" selected" if name == chosen else ""}>{escape(name)}</option>'
        for number, name in enumerate(names)
    )
    return f'<label>{side} <select data-side="{side}" autocomplete="off">{options}</select></label>'
