"""Drawing charts as SVG by hand: a canvas, two kinds of axis, colours for light and dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Protocol

SERIES = 4
"""Colours for series there are: classes ``s0`` to ``s3``."""
_STYLE = """
.chart-card{fill:#ffffff}
.chart-ink{fill:#1b1f24}.chart-faint{fill:#57606a}.chart-line{stroke:#8c959f;stroke-width:1}
.chart-grid{stroke:#d0d7de;stroke-width:1}.chart-mark{stroke:#a40e26;stroke-width:1.5;fill:none}
.chart-ink,.chart-faint,text{font:14px system-ui,sans-serif}.chart-ink.title{font-weight:600}
.s0{--c:#0550ae}.s1{--c:#bc4c00}.s2{--c:#116329}.s3{--c:#8250df}
.chart-dot{fill:var(--c);fill-opacity:.55}.chart-bar{fill:var(--c)}
.chart-path{stroke:var(--c);stroke-width:2;fill:none}.chart-box{fill:var(--c);fill-opacity:.18;stroke:var(--c)}
@media (prefers-color-scheme:dark){
.chart-card{fill:#0d1117}
.chart-ink{fill:#e6edf3}.chart-faint{fill:#9198a1}.chart-line{stroke:#6e7681}.chart-grid{stroke:#30363d}
.chart-mark{stroke:#ff7b72}.s0{--c:#79c0ff}.s1{--c:#ffa657}.s2{--c:#56d364}.s3{--c:#d2a8ff}}
"""


class Axis(Protocol):
    """From values to places on the canvas."""

    def at(self, value: float) -> float:
        """The place of a value."""

    def ticks(self) -> list[float]:
        """Round values to mark."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """``low`` is drawn at ``start``, ``high`` at ``stop``."""

    low: float = 0.0
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """The place of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten."""
        return [value for value in tick_values(self.high) if value >= self.low]


@dataclass(frozen=True, kw_only=True)
class Log:
    """As :class:`Linear`, but equal factors take equal room; what is below ``low`` lies there."""

    low: float
    high: float
    start: float
    stop: float

    @classmethod
    def around(cls, values: list[float], start: float, stop: float) -> Log:
        """Whole powers of ten around the positive values; two at the least."""
        positive = [value for value in values if 0 < value < math.inf] or [1.0]
        low = math.floor(math.log10(min(positive)))
        high = max(math.ceil(math.log10(max(positive))), low + 2)
        return cls(low=10.0**low, high=10.0**high, start=start, stop=stop)

    def at(self, value: float) -> float:
        """The place of a value."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten, no more than seven."""
        powers = range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)
        step = -(-len(powers) // 7)
        return [10.0**power for power in powers[::step]]


class Canvas:
    """Collects shapes; the size is that of the view box."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height
        self._title = title
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._parts.append(
            f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def rectangle(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A rectangle."""
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" '
            f'width="{max(width, 0.5):.1f}" height="{height:.1f}"/>'
        )

    def dot(self, x: float, y: float, radius: float, kind: str, told: str = "") -> None:
        """A filled circle; ``told`` is what a pointer over it reads."""
        hint = f"<title>{escape(told)}</title>" if told else ""
        self._parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{hint}</circle>'
        )

    def path(self, points: list[tuple[float, float]], kind: str) -> None:
        """Straight lines from point to point."""
        joined = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._parts.append(f'<path class="{kind}" d="M{joined}"/>')

    def text(
        self, x: float, y: float, text: str, kind: str = "chart-ink", anchor: str = "start"
    ) -> None:
        """One line of text, its baseline at ``y``."""
        self._parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def place(self, other: Canvas, y: float) -> None:
        """Another canvas inside this one, ``y`` from the top."""
        self._parts.append(f'<g transform="translate(0 {y:g})">{"".join(other._parts)}</g>')

    def svg(self) -> str:
        """The whole image, usable as a file and inside a page."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'role="img" aria-label="{escape(self._title)}">'
            f"<style>{_STYLE}</style>{''.join(self._parts)}</svg>"
        )


def stacked(panels: list[Canvas], title: str) -> Canvas:
    """Canvases below each other."""
    whole = Canvas(
        max(panel.width for panel in panels), sum(panel.height for panel in panels), title
    )
    y = 0
    for panel in panels:
        whole.place(panel, y)
        y += panel.height
    return whole


def tick_values(largest: float) -> list[float]:
    """From 0 up, in steps of 1, 2 or 5 times a power of ten: 5 to 11 of them."""
    power = 10.0 ** math.floor(math.log10(largest / 5))
    step = next(power * factor for factor in (5, 2, 1) if largest / (power * factor) >= 4)
    return [float(round(n * step, 12)) for n in range(int(largest / step) + 1)]
