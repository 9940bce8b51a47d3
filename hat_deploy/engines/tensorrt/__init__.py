"""Plans run by TensorRT or TensorRT for RTX."""

from __future__ import annotations
