"""State dict to config: every number that the shapes imply, or what the weights are instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.networks.hat import windows
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.limits import check_network
from hat_deploy.networks.weights import listing, shortened

StateDict = Mapping[str, Tensor]

_GROUP = "layers.0.residual_group."
_BLOCK = _GROUP + "blocks.0."

_NUMBERS = re.compile(r"layers\.([0-9]+)\.(?:residual_group\.blocks\.([0-9]+)\.)?")

_ESSENTIAL = (
    "conv_first.weight",
    _BLOCK + "norm1.weight",
    _BLOCK + "attn.relative_position_bias_table",
    _BLOCK + "attn.qkv.weight",
    _BLOCK + "mlp.fc1.weight",
    "norm.weight",
    "conv_before_upsample.0.weight",
    "conv_last.weight",
)
"""What every HAT has."""

_OWN = (
    _BLOCK + "conv_block.cab.0.weight",
    _BLOCK + "conv_block.cab.3.attention.1.weight",
    _GROUP + "overlap_attn.relative_position_bias_table",
    _GROUP + "overlap_attn.qkv.weight",
)
"""What a HAT has and a SwinIR has not; the paper's ablations lack some of it too."""

_PER_BLOCK_INDEX = _BLOCK + "attn.relative_position_index"

_FOREIGN: tuple[tuple[str, str], ...] = (
    ("an ESRGAN (RRDB)", r"rdb1\.conv1|RDB1\.conv1"),
    ("a DRCT", r"(^|\.)layers\.0\.swin1\."),
    ("an ATD", r"residual_group\.layers\.0\.attn_atd\."),
    ("a Swin2SR", r"attn\.(logit_scale|cpb_mlp)"),
    ("an SRFormer", r"aligned_relative_position_index"),
    ("an RGT", r"(^|\.)layers\.0\.blocks\.0\.gamma$"),
    ("a DAT", r"(^|\.)before_RG\.1\.weight$"),
    ("a GRL", r"window_attn\.attn_transform"),
    ("an RCAN", r"conv_du\.0\.weight$|\.rcab\."),
    ("a SPAN", r"(^|\.)block_1\.c1_r\."),
    ("a PLKSR", r"(^|\.)feats\.1\.(lk|channe)"),
    ("an OmniSR", r"(^|\.)residual_layer\.0\.residual_layer\."),
    ("a Real-CUGAN", r"(^|\.)unet1\.conv1\.conv\.0\."),
    ("a GFPGAN", r"(^|\.)stylegan_decoder\."),
    ("a SwinIR", r"residual_group\.blocks\.0\.attn\.relative_position_bias_table$"),
    ("an EDSR", r"(^|\.)body\.0\.(conv1|body\.0)\.weight$"),
    ("a compact SRVGG", r"(^|\.)body\.1\.weight$"),
    ("a discriminator", r"(^|\.)(conv9|linear2)\.weight$"),
)


def detect_config(
    state_dict: StateDict,
    *,
    conv_scale: float = 0.01,
    img_range: float = 1.0,
    qk_scale: float | None = None,
    shift: bool = True,
) -> HATConfig:
    """Read a HAT's config off its weights.

    Everything but the arguments, which change the result, follows from shapes. The index buffers
    that the authors' files carry are not needed, but are checked where they are there.

    Raises:
        CheckpointError: the weights are another network's, or describe no HAT.
    """
    require_hat(state_dict)
    depths, heads = _groups(state_dict)
    embed_dim, in_channels, *_ = _shape(state_dict, "conv_first.weight", 4)
    window = _window(state_dict)
    try:
        config = HATConfig(
            scale=_scale(state_dict),
            in_channels=in_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=heads,
            window_size=window,
            overlap_size=_overlap(state_dict, window),
            cab_channels=_rows(state_dict, _BLOCK + "conv_block.cab.0.weight"),
            squeeze_channels=_rows(state_dict, _BLOCK + "conv_block.cab.3.attention.1.weight"),
            mlp_channels=_rows(state_dict, _BLOCK + "mlp.fc1.weight"),
            upsampler_channels=_shape(state_dict, "conv_last.weight", 4)[1],
            qkv_bias=_BLOCK + "attn.qkv.bias" in state_dict,
            patch_norm="patch_embed.norm.weight" in state_dict,
            body_conv="conv_after_body.weight" in state_dict,
            conv_scale=conv_scale,
            img_range=img_range,
            qk_scale=qk_scale,
            shift=shift,
        )
        check_network(config)
    except ValueError as error:
        raise CheckpointError(f"the weights describe no HAT that can be built: {error}") from error
    _check_indices(state_dict, config)
    return config


def require_hat(state_dict: StateDict) -> None:
    """Refuse the weights of another network.

    Raises:
        CheckpointError: which of a HAT's keys are missing, and what the weights look like.
    """
    missing = [name for name in _ESSENTIAL if name not in state_dict]
    # Without OCAB and CAB a HAT has the keys of a SwinIR; the index in every block tells.
    swinir = not any(name in state_dict for name in _OWN) and _PER_BLOCK_INDEX in state_dict
    if missing or swinir:
        raise CheckpointError(_foreign(state_dict))
    if "absolute_pos_embed" in state_dict:
        raise CheckpointError(_positions(state_dict["absolute_pos_embed"]))


def _positions(embedding: Tensor) -> str:
    """Why absolute positions are not supported: they tie a network to the size it learned."""
    count = embedding.shape[1] if embedding.ndim == 3 else 0
    side = math.isqrt(count)
    learned = f"inputs of {side}x{side}" if side and side**2 == count else "inputs of one size"
    return (
        f"the weights have an absolute_pos_embed, a learned value for each pixel of {learned}: "
        "such a HAT runs at that size alone, so images and tiles of any other are beyond it, and "
        "it is not supported; no published HAT has it (train with ape: false)"
    )


def _foreign(state_dict: StateDict) -> str:
    looked_for = _ESSENTIAL + _OWN
    missing = [name for name in looked_for if name not in state_dict]
    guess = _guess(state_dict)
    return (
        f"the weights are not a HAT's: {len(missing)} of {len(looked_for)} keys looked for are "
        f"missing ({listing(missing)}), and there are {listing(state_dict, 3)}; {guess}"
    )


def _guess(state_dict: StateDict) -> str:
    if any(name in state_dict for name in _OWN):
        return "they look like those of an incomplete or modified HAT"
    for network, pattern in _FOREIGN:
        if any(re.search(pattern, name) for name in state_dict):
            return f"they look like those of {network}"
    return "the network is not a known one"


def _groups(state_dict: StateDict) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depth and heads of each RHAG; both are numbered from 0 without a gap."""
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
        heads.append(_shape(state_dict, f"{prefix}0.attn.relative_position_bias_table", 2)[1])
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


def _window(state_dict: StateDict) -> int:
    """M, from the (2M - 1)^2 rows of W-MSA's bias table."""
    key = _BLOCK + "attn.relative_position_bias_table"
    side = _side(state_dict, key)
    if side % 2 == 0:
        raise CheckpointError(f"{key} has {side}x{side} rows; a window of M has (2M-1)x(2M-1)")
    return (side + 1) // 2


def _overlap(state_dict: StateDict, window: int) -> int:
    """Mo, from the (M + Mo - 1)^2 rows of OCAB's bias table; 0 without OCAB."""
    if not any(name.startswith(_GROUP + "overlap_attn.") for name in state_dict):
        return 0
    return _side(state_dict, _GROUP + "overlap_attn.relative_position_bias_table") + 1 - window


def _side(state_dict: StateDict, key: str) -> int:
    rows = _shape(state_dict, key, 2)[0]
    side = math.isqrt(rows)
    if side * side != rows:
        raise CheckpointError(f"{key} has {rows} rows; expected a square number")
    return side


def _scale(state_dict: StateDict) -> int:
    """The product of the upsampler's pixel shuffles, from (r^2 F, F, 3, 3)."""
    scale, stage = 1, 0
    while (key := f"upsample.{stage}.weight") in state_dict:
        rows, channels, *_ = _shape(state_dict, key, 4)
        factor = math.isqrt(rows // channels) if channels else 0
        if factor not in (2, 3) or rows != factor**2 * channels or (factor == 3 and stage):
            raise CheckpointError(
                f"{key} is {rows}x{channels}; expected 4 times or, alone, 9 times {channels} rows"
            )
        scale, stage = scale * factor, stage + 2
    return scale


def _rows(state_dict: StateDict, key: str) -> int:
    """The first dimension of an optional weight; 0 where it is absent."""
    return state_dict[key].shape[0] if key in state_dict and state_dict[key].ndim else 0


def _shape(state_dict: StateDict, key: str, dimensions: int) -> tuple[int, ...]:
    if key not in state_dict:
        raise CheckpointError(f"the weights lack {key}, which a HAT has")
    shape = tuple(state_dict[key].shape)
    if len(shape) != dimensions:
        raise CheckpointError(f"{key} has shape {shape}; expected {dimensions} dimensions")
    return shape


def _check_indices(state_dict: StateDict, config: HATConfig) -> None:
    """Refuse weights whose own index buffers pair tables and pixels otherwise than ours."""
    window, overlap = config.window_size, config.overlap_size
    _check_index(
        state_dict,
        "relative_position_index_SA",
        (window**2, window**2),
        lambda: windows.relative_position_index(window),
        (2 * window - 1) ** 2,
    )
    if overlap:
        _check_index(
            state_dict,
            "relative_position_index_OCA",
            (window**2, overlap**2),
            lambda: windows.overlapping_position_index(window, overlap),
            (window + overlap - 1) ** 2,
        )


def _check_index(
    state_dict: StateDict,
    key: str,
    shape: tuple[int, int],
    expected: Callable[[], Tensor],
    rows: int,
) -> None:
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
