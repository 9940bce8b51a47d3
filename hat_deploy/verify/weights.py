"""Whether the constants of an ONNX file are the tensors of a network, bit for bit.

Some weights move a network's output by less than fp32 rounds: one entry of a position bias,
one weight of channel attention. No comparison of images can see those change; this can.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.engines.base import Array
from hat_deploy.errors import needed_for

if TYPE_CHECKING:
    from hat_deploy.networks.network import Network

with needed_for("Comparing an artifact's weights"):
    import onnx
    from onnx import numpy_helper

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def foreign(path: Path, network: Network) -> list[str]:
    """Names of the float constants of a file that hold none of the network's tensors.

    The order of a tensor's values is not looked at: exporting transposes weights, and values
    in the wrong place show in the output. Nor are single numbers, which are mostly the
    formulas' own.

    Args:
        path: an ``.onnx``.
        network: frozen, on the CPU, converted to the precision of the file.
    """
    known = {_digest(tensor.detach().float().numpy()) for tensor in network.constants()}
    graph = onnx.load(path).graph
    # How much larger a Resize makes its input: of another size, nothing could be compared.
    scales = {node.input[2] for node in graph.node if node.op_type == "Resize"}
    return [
        constant.name
        for constant in graph.initializer
        if constant.data_type in FLOATS
        and constant.name not in scales
        and np.prod(constant.dims) > 1
        and _digest(numpy_helper.to_array(constant)) not in known
    ]


def _digest(values: Array) -> bytes:
    """The same for the same values in any order; halves are exact in float32."""
    ordered = np.sort(values.astype(np.float32), axis=None) + 0.0  # -0.0 and 0.0 are one value
    return hashlib.sha256(ordered.tobytes()).digest()
