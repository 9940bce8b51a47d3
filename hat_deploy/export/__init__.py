"""From a network to an ONNX file and on to a TensorRT plan, proved before it is kept."""

from __future__ import annotations
