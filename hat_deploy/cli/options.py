"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from enum import StrEnum

from hat_deploy.errors import UsageError


class Device(StrEnum):
    """Where an engine runs."""

    CPU = "cpu"
    CUDA = "cuda"


def parse_tile(text: str | None) -> tuple[int, int] | None:
    """``256`` or ``HEIGHTxWIDTH`` as (height, width).

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text.strip().lower())
    if not match:
        raise UsageError(f"--tile {text}: write one side, 256, or HEIGHTxWIDTH, 192x320")
    height = int(match[1])
    return height, int(match[2] or height)
