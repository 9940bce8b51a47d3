"""State dict to config: every number that the shapes imply, or what the weights are instead."""

from __future__ import annotations

from hat_deploy.errors import CheckpointError
from hat_deploy.networks import sizes, windows
from hat_deploy.networks.hat.config import NAME, HATConfig
from hat_deploy.networks.limits import check_network
from hat_deploy.networks.sizes import StateDict

_BLOCK = sizes.FIRST_BLOCK
_CAB = _BLOCK + "conv_block.cab."
_OCAB = "layers.0.residual_group.overlap_attn."

ESSENTIAL = (
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

OWN = (
    _CAB + "0.weight",
    _CAB + "3.attention.1.weight",
    _OCAB + "relative_position_bias_table",
    _OCAB + "qkv.weight",
)
"""What a HAT has and a SwinIR has not; the paper's ablations lack some of it too."""

_BLOCK_INDEX = _BLOCK + "attn.relative_position_index"
_SHARED_INDEX = "relative_position_index_SA"


def claims(state_dict: StateDict) -> bool:
    """Whether the weights are a HAT's.

    Without OCAB and CAB a HAT has the keys of a SwinIR, and computes the same: the index tells
    that a SwinIR stores in every block, and a HAT once for all.
    """
    if any(name not in state_dict for name in ESSENTIAL):
        return False
    if any(name in state_dict for name in OWN):
        return True
    if "conv_up1.weight" in state_dict:
        return False
    return _BLOCK_INDEX not in state_dict or _SHARED_INDEX in state_dict


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
        CheckpointError: the weights describe no HAT.
    """
    sizes.refuse_positions(state_dict, NAME)
    depths, heads = sizes.groups(state_dict)
    embed_dim, in_channels, *_ = sizes.dimensions_of(state_dict, "conv_first.weight", 4)
    window = sizes.window_of(state_dict)
    try:
        config = HATConfig(
            scale=sizes.upsampler_scale(state_dict),
            in_channels=in_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=heads,
            window_size=window,
            overlap_size=_overlap(state_dict, window),
            cab_channels=sizes.rows_of(state_dict, _CAB + "0.weight"),
            squeeze_channels=sizes.rows_of(
                state_dict, _BLOCK + "conv_block.cab.3.attention.1.weight"
            ),
            mlp_channels=sizes.rows_of(state_dict, _BLOCK + "mlp.fc1.weight"),
            upsampler_channels=sizes.dimensions_of(state_dict, "conv_last.weight", 4)[1],
            ast=_OCAB + "ast_weight" in state_dict,
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


def _overlap(state_dict: StateDict, window: int) -> int:
    """Mo, from the (M + Mo - 1)^2 rows of OCAB's bias table; 0 without OCAB."""
    if not any(name.startswith(_OCAB) for name in state_dict):
        return 0
    return sizes.side_of(state_dict, _OCAB + "relative_position_bias_table") + 1 - window


def _check_indices(state_dict: StateDict, config: HATConfig) -> None:
    """Refuse weights whose own index buffers pair tables and pixels otherwise than ours."""
    window, overlap = config.window_size, config.overlap_size
    sizes.check_index(
        state_dict,
        _SHARED_INDEX,
        (window**2, window**2),
        lambda: windows.relative_position_index(window),
        (2 * window - 1) ** 2,
    )
    if overlap:
        sizes.check_index(
            state_dict,
            "relative_position_index_OCA",
            (window**2, overlap**2),
            lambda: windows.overlapping_position_index(window, overlap),
            (window + overlap - 1) ** 2,
        )
