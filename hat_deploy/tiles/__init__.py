"""From an image in memory to an enlarged one: cut into tiles, run in batches, put together."""

from __future__ import annotations
