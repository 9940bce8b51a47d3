"""Whether the constants of an ONNX file are the tensors of a network, bit for bit.

Some weights move a network's output by less than fp32 rounds: one entry of a position bias,
one weight of channel attention. No comparison of images can see those change; this can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.engines.base import Array
from hat_deploy.errors import needed_for

if TYPE_CHECKING:
    from hat_deploy.networks.hat.network import HAT

with needed_for("Comparing an artifact's weights"):
    import onnx
    from onnx import numpy_helper

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def foreign(path: Path, network: HAT) -> list[str]:
    """Names of the float constants of a file that hold none of the network's tensors.

    The order of a tensor's values is not looked at: exporting transposes weights, and values
    in the wrong place show in the output. Nor are single numbers, which are mostly the
    formulas' own.

    Args:
        path: an ``.onnx``.
        network: frozen, on the CPU, converted to the precision of the file.
    """
    known = {_digest(values) for values in _tensors(network)}
    constants = onnx.load(path).graph.initializer
    return [
        constant.name
        for constant in constants
        if constant.data_type in FLOATS
        and np.prod(constant.dims) > 1
        and _digest(numpy_helper.to_array(constant)) not in known
    ]


def _tensors(network: HAT) -> Iterator[Array]:
    """Parameters and buffers, and every edge mask alone."""
    for _, tensor in (*network.named_parameters(), *network.named_buffers()):
        yield tensor.detach().float().numpy()
    for mask in network.edge_masks:
        yield mask.float().numpy()


def _digest(values: Array) -> bytes:
    """The same for the same values in any order; halves are exact in float32."""
    ordered = np.sort(values.astype(np.float32), axis=None) + 0.0  # -0.0 and 0.0 are one value
    return hashlib.sha256(ordered.tobytes()).digest()
