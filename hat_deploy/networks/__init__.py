"""The networks this toolkit deploys, and the checkpoints that hold their weights."""

from __future__ import annotations
