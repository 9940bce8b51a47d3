"""How large a checkpoint and its network may be: checked before anything of that size exists.

A file says its sizes itself, and a damaged or hostile one may say anything. What holds whatever
the file says: all its tensors together are no larger than the file, and a network is built only
after each of its tensors was found there. The numbers below bound the rest. HAT-L, the largest
published network, has 41 M parameters, 1,400 tensors and 210 MB of expanded position biases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hat_deploy.networks.shape import Shape

MAX_SCALE = 16
"""The published networks have 8 at most."""
MAX_WINDOW = 64
"""The published networks have 16. Scores and biases grow with the fourth power of it."""
MAX_MULTIPLE = 128
"""Of sizes and offsets of tiles, for a network whose windows are not all of that size: Uformer
halves an image four times around windows of 8. A tile with a halo takes two of them at least."""
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


def check_network(shape: Shape) -> None:
    """Refuse a network that would not fit an artifact, by arithmetic alone.

    Raises:
        ValueError: it has too many parameters, or its position biases are too large.
    """
    parameters = shape.cost(shape.window, shape.window).parameters
    if parameters > MAX_PARAMETERS:
        raise ValueError(
            f"it would have {parameters:,} parameters; expected at most {MAX_PARAMETERS:,}"
        )
    size = shape.expanded_bytes
    if size > MAX_POSITION_BYTES:
        raise ValueError(
            f"with windows of {shape.window}, its position biases would take "
            f"{size / 1e9:,.1f} GB; expected at most {MAX_POSITION_BYTES / 1e9:,.1f}"
        )
