"""Sizes read off the weights of a window transformer in the published key layout."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.networks.weights import shortened

StateDict = Mapping[str, Tensor]

FIRST_BLOCK = "layers.0.residual_group.blocks.0."

_NUMBERS = re.compile(r"layers\.([0-9]+)\.(?:residual_group\.blocks\.([0-9]+)\.)?")


def groups(state_dict: StateDict) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depth and heads of each group of blocks; both are numbered from 0 without a gap."""
    blocks: dict[str, set[str]] = {}
    for name in state_dict:
        if match := _NUMBERS.match(name):
            numbers = blocks.setdefault(match[1], set())
            if match[2]:
                numbers.add(match[2])
    depths, heads = [], []
    for group in range(_count(blocks, "layers.")):
        prefix = f"layers.{group}.residual_group.blocks."
        depths.append(_count(blocks[str(group)], prefix))
        heads.append(
            dimensions_of(state_dict, f"{prefix}0.attn.relative_position_bias_table", 2)[1]
        )
    return tuple(depths), tuple(heads)


def _count(written: Collection[str], prefix: str) -> int:
    """How many modules are numbered under ``prefix``; numbers as the file writes them."""
    # Looked for and not computed with: a number may have thousands of digits.
    absent = next(i for i in range(len(written) + 1) if str(i) not in written)
    if absent != len(written):
        other = next(iter(set(written) - {str(i) for i in range(absent)}))
        raise CheckpointError(
            f"the weights have {shortened(prefix + other)} but no {prefix}{absent}"
        )
    return len(written)


def window_of(state_dict: StateDict) -> int:
    """M, from the (2M - 1)^2 rows of W-MSA's bias table."""
    key = FIRST_BLOCK + "attn.relative_position_bias_table"
    side = side_of(state_dict, key)
    if side % 2 == 0:
        raise CheckpointError(f"{key} has {side}x{side} rows; a window of M has (2M-1)x(2M-1)")
    return (side + 1) // 2


def side_of(state_dict: StateDict, key: str) -> int:
    """The root of a table's rows, which are a square."""
    rows = dimensions_of(state_dict, key, 2)[0]
    side = math.isqrt(rows)
    if side * side != rows:
        raise CheckpointError(f"{key} has {rows} rows; expected a square number")
    return side


def upsampler_scale(state_dict: StateDict, upsampler: str = "upsample") -> int:
    """The product of the upsampler's pixel shuffles, from (r^2 F, F, 3, 3)."""
    scale, stage = 1, 0
    while (key := f"{upsampler}.{stage}.weight") in state_dict:
        rows, channels, *_ = dimensions_of(state_dict, key, 4)
        factor = math.isqrt(rows // channels) if channels else 0
        if factor not in (2, 3) or rows != factor**2 * channels or (factor == 3 and stage):
            raise CheckpointError(
                f"{key} is {rows}x{channels}; expected 4 times or, alone, 9 times {channels} rows"
            )
        scale, stage = scale * factor, stage + 2
    return scale


def rows_of(state_dict: StateDict, key: str) -> int:
    """The first dimension of an optional weight; 0 where it is absent."""
    return state_dict[key].shape[0] if key in state_dict and state_dict[key].ndim else 0


def dimensions_of(state_dict: StateDict, key: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a weight that must be there and have so many dimensions."""
    if key not in state_dict:
        raise CheckpointError(f"the weights lack {key}, which such a network has")
    shape = tuple(state_dict[key].shape)
    if len(shape) != dimensions:
        raise CheckpointError(f"{key} has shape {shape}; expected {dimensions} dimensions")
    return shape


def check_index(
    state_dict: StateDict,
    key: str,
    shape: tuple[int, int],
    expected: Callable[[], Tensor],
    rows: int,
) -> None:
    """Refuse an index buffer that pairs a bias table and pixels otherwise than ours.

    Args:
        key: of the buffer; where there is none, there is nothing to check.
        shape: queries and keys.
        expected: makes ours.
        rows: of the bias table; negative indices count from its end.

    Raises:
        CheckpointError: it differs.
    """
    found = state_dict.get(key)
    # A tool that halves every tensor rounds the index too: it tells nothing then.
    if found is None or found.is_floating_point():
        return
    whole = found.dtype in (torch.int64, torch.int32, torch.int16)
    fits = whole and found.shape == shape
    if not fits or not torch.equal(found.long() % rows, expected()):
        raise CheckpointError(
            f"{key} of shape {tuple(found.shape)} is not the one that the bias tables imply "
            f"({shape}, row by row): the weights are of a modified HAT"
        )


def refuse_positions(state_dict: StateDict, network: str) -> None:
    """Refuse absolute positions: they tie a network to the size it learned.

    Args:
        network: its name, for the message.

    Raises:
        CheckpointError: there are some.
    """
    if (embedding := state_dict.get("absolute_pos_embed")) is None:
        return
    count = embedding.shape[1] if embedding.ndim == 3 else 0
    side = math.isqrt(count)
    learned = f"inputs of {side}x{side}" if side and side**2 == count else "inputs of one size"
    raise CheckpointError(
        f"the weights have an absolute_pos_embed, a learned value for each pixel of {learned}: "
        f"such a {network} runs at that size alone, so images and tiles of any other are beyond "
        f"it, and it is not supported; no published {network} has it (train with ape: false)"
    )
