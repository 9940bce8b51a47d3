"""How large a checkpoint and its network may be: checked before anything of that size exists.

A file says its sizes itself, and a damaged or hostile one may say anything. What holds whatever
the file says: all its tensors together are no larger than the file, and a network is built only
after each of its tensors was found there. The numbers below bound the rest. HAT-L, the largest
published network, has 41 M parameters, 1,400 tensors and 210 MB of expanded position biases.
"""

from __future__ import annotations

from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.cost import cost

MAX_FILE_BYTES = 16 * 2**30
"""A network of ``MAX_PARAMETERS`` in float32, its moving average and two moments of Adam."""
MAX_TENSORS = 100_000
"""The weights of 70 HAT-Ls."""
MAX_HEADER_BYTES = 16 * 2**20
"""The largest ``.safetensors`` header or directory of a zip archive: 160 bytes a tensor."""
MAX_PARAMETERS = 2**30
"""25 times those of HAT-L; more fits no ``.onnx`` in any precision, which ends at 2 GiB."""
MAX_POSITION_BYTES = 2**31
"""The largest expanded position biases, indices included, which no checkpoint holds. An ``.onnx``
does, and ends at 2 GiB. A HAT with windows of 32 has 1.7 GB."""


def check_network(config: HATConfig) -> None:
    """Refuse a network that would not fit an artifact, by arithmetic alone.

    Raises:
        ValueError: it has too many parameters, or its position biases are too large.
    """
    parameters = cost(config, config.window_size, config.window_size).parameters
    if parameters > MAX_PARAMETERS:
        raise ValueError(
            f"it would have {parameters:,} parameters; expected at most {MAX_PARAMETERS:,}"
        )
    size = position_bytes(config)
    if size > MAX_POSITION_BYTES:
        raise ValueError(
            f"with windows of {config.window_size}, its position biases would take "
            f"{size / 1e9:,.1f} GB; expected at most {MAX_POSITION_BYTES / 1e9:,.1f}"
        )


def position_bytes(config: HATConfig) -> int:
    """Bytes of what a loaded network expands: float32 biases and int64 indices."""
    queries = config.window_size**2
    return sum(
        (4 * heads + 8) * queries * (depth * queries + config.overlap_size**2)
        for depth, heads in zip(config.depths, config.num_heads, strict=True)
    )
