"""How long work tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable

OnStage = Callable[[str], None]
"""Told what is being done, in a few words, each time that changes."""
