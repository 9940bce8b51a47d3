"""Operators of PyTorch that its exporter knows no form of, spelled in those of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hat_deploy.errors import needed_for

with needed_for("Exporting a checkpoint"):
    import torch
    from onnxscript import opset18 as op


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What to hand to ``torch.onnx.export`` as its ``custom_translation_table``."""
    return {torch.ops.aten.sort.stable: _stable_sort}


def _stable_sort(self: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
    """TopK of all values: of equal ones, the one of the lower index comes first."""
    axis: Any = op.Constant(value_ints=[dim])
    size: Any = op.Gather(op.Shape(self), axis)
    values, indices = op.TopK(self, size, axis=dim, largest=int(descending), sorted=1)
    return values, indices
