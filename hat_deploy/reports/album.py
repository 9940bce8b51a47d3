"""The images of a page, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

SIDE = 640
"""Longest side of a result that is shown pixel by pixel."""
MAP_SIDE = 800
"""Longest side of an error map; larger ones are shrunk."""
BUDGET = 20_000_000
"""Bytes of all images of a page; a phone still opens that much."""


class Album:
    """Sections of a page, one for each image, while the budget lasts.

    An image that does not fit is named on the page. Its figures stand in the tables all the same.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget
        self._sections: list[str] = []
        self.left_out: list[str] = []
        """Names of the images that are not shown."""

    def add(self, name: str, make: Callable[[], str]) -> None:
        """Add a section, or leave it out once one did not fit."""
        section = "" if self.left_out else make()
        if self.left_out or len(section) > self._left:
            self.left_out.append(name)
            return
        self._left -= len(section)
        self._sections.append(section)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sections)

    @property
    def note(self) -> str:
        """What to say of images left out; empty where all are shown."""
        if not self.left_out:
            return ""
        return (
            f"{len(self.left_out)} images are not shown, for the page would pass "
            f"{BUDGET / 1e6:.0f} MB: {', '.join(self.left_out[:5])}"
            f"{' and more' if len(self.left_out) > 5 else ''}. Their figures are above."
        )
