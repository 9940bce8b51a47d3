"""Amounts of memory, as people write them."""

from __future__ import annotations

import re

from hat_deploy.errors import UsageError


def parse_bytes(option: str, text: str | None) -> int | None:
    """``512M``, ``4G`` or ``1.5GiB`` as bytes; a bare number is bytes.

    Args:
        option: or environment variable that it was given by, for the message.

    Raises:
        UsageError: it is none of these, or nothing.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([kmgt]?)(?:i?b)?", text.strip().lower())
    amount = int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")) if match else 0
    if amount < 1:
        raise UsageError(f"{option} {text}: write bytes, such as 512M or 4G")
    return amount
