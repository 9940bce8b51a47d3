"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, thing: str, things: str | None = None) -> str:
    """``1 tile``, ``2 tiles``.

    Args:
        things: the plural, where it takes more than an ``s``.
    """
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"
