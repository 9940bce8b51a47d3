"""An artifact compared with the PyTorch reference."""

from __future__ import annotations
