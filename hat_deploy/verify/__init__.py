"""An artifact held against the PyTorch reference."""

from __future__ import annotations
