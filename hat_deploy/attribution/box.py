"""A rectangle of the image, as ``--box`` gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hat_deploy.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Box:
    """In pixels of the LR image, from its top left corner."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Box:
        """From ``X,Y,WIDTH,HEIGHT``.

        Raises:
            UsageError: it is something else, or has no area.
        """
        match = re.fullmatch(r"\s*(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})\s*", text)
        if not match:
            raise UsageError(
                f"--box {text}: write four whole numbers, X,Y,WIDTH,HEIGHT, in pixels of the "
                "picture"
            )
        x, y, width, height = map(int, match.groups())
        if not width or not height:
            raise UsageError(f"--box {text}: width and height must be at least 1")
        return cls(x=x, y=y, width=width, height=height)

    def require_inside(self, height: int, width: int) -> None:
        """Refuse a box that reaches beyond an image of that size.

        Raises:
            UsageError: it does.
        """
        if self.x + self.width > width or self.y + self.height > height:
            raise UsageError(
                f"the box ends at column {self.x + self.width} and row {self.y + self.height}, "
                f"and the image has {width} columns and {height} rows: give pixels of the "
                "image itself, not of the result"
            )

    def moved(self, rows: int, columns: int) -> Box:
        """The same box as a piece of the image sees it that begins at that row and column."""
        return Box(x=self.x - columns, y=self.y - rows, width=self.width, height=self.height)
