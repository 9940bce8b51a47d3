"""State dict to config: every number that the shapes imply."""

from __future__ import annotations

import math

from hat_deploy.errors import CheckpointError
from hat_deploy.networks import sizes, windows
from hat_deploy.networks.hat import detection as hat
from hat_deploy.networks.limits import check_network
from hat_deploy.networks.sizes import StateDict
from hat_deploy.networks.swinir.config import NAME, SwinIRConfig
from hat_deploy.networks.swinir.upsamplers import Closing, Upsampler

_BLOCK = sizes.FIRST_BLOCK
_INDEX = "attn.relative_position_index"

ESSENTIAL = (
    "conv_first.weight",
    _BLOCK + "norm1.weight",
    _BLOCK + "attn.relative_position_bias_table",
    _BLOCK + "attn.qkv.weight",
    _BLOCK + "mlp.fc1.weight",
    "norm.weight",
)
"""What every SwinIR has."""

_DOUBLING = "conv_up1.weight"
_JPEG_WINDOW = 7


def claims(state_dict: StateDict) -> bool:
    """Whether the weights are a SwinIR's.

    A HAT without CAB and OCAB has the keys of the classical form, and computes the same; the
    index in every block tells.
    """
    if any(name not in state_dict for name in ESSENTIAL):
        return False
    if any(name in state_dict for name in hat.OWN):
        return False
    other_tail = _DOUBLING in state_dict or any(n not in state_dict for n in hat.ESSENTIAL)
    return other_tail or _BLOCK + _INDEX in state_dict


def detect_config(state_dict: StateDict) -> SwinIRConfig:
    """Read a SwinIR's config off its weights.

    The published networks against JPEG artefacts, which alone have windows of 7, were trained
    with an ``img_range`` of 255; that no checkpoint says.

    Raises:
        CheckpointError: the weights describe no SwinIR.
    """
    sizes.refuse_positions(state_dict, NAME)
    depths, heads = sizes.groups(state_dict)
    embed_dim, in_channels, *_ = sizes.dimensions_of(state_dict, "conv_first.weight", 4)
    window, upsampler = sizes.window_of(state_dict), _upsampler(state_dict)
    jpeg = upsampler is Upsampler.NONE and window == _JPEG_WINDOW
    try:
        config = SwinIRConfig(
            scale=_scale(state_dict, upsampler, in_channels),
            in_channels=in_channels,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=heads,
            window_size=window,
            mlp_channels=sizes.rows_of(state_dict, _BLOCK + "mlp.fc1.weight"),
            upsampler=upsampler,
            upsampler_channels=sizes.rows_of(state_dict, "conv_before_upsample.0.weight"),
            closing=Closing.THREE if "conv_after_body.0.weight" in state_dict else Closing.ONE,
            qkv_bias=_BLOCK + "attn.qkv.bias" in state_dict,
            patch_norm="patch_embed.norm.weight" in state_dict,
            img_range=255.0 if jpeg else 1.0,
        )
        check_network(config)
    except ValueError as error:
        raise CheckpointError(
            f"the weights describe no SwinIR that can be built: {error}"
        ) from error
    _check_indices(state_dict, config)
    return config


def _upsampler(state_dict: StateDict) -> Upsampler:
    if _DOUBLING in state_dict:
        return Upsampler.NEAREST
    if "conv_before_upsample.0.weight" in state_dict:
        return Upsampler.PIXEL_SHUFFLE
    return Upsampler.DIRECT if "upsample.0.weight" in state_dict else Upsampler.NONE


def _scale(state_dict: StateDict, upsampler: Upsampler, channels: int) -> int:
    if upsampler is Upsampler.NONE:
        return 1
    if upsampler is Upsampler.NEAREST:
        return 4 if "conv_up2.weight" in state_dict else 2
    if upsampler is Upsampler.PIXEL_SHUFFLE:
        return sizes.upsampler_scale(state_dict)
    rows = sizes.dimensions_of(state_dict, "upsample.0.weight", 4)[0]
    scale = math.isqrt(rows // channels) if channels else 0
    if rows != scale**2 * channels:
        raise CheckpointError(
            f"upsample.0.weight has {rows} rows; expected a square times {channels}, the channels "
            "of the image"
        )
    return scale


def _check_indices(state_dict: StateDict, config: SwinIRConfig) -> None:
    """Refuse weights whose own index buffers pair tables and pixels otherwise than ours."""
    window = config.window_size
    expected = windows.relative_position_index(window)
    for name in state_dict:
        if name.endswith(_INDEX):
            shape, rows = (window**2, window**2), (2 * window - 1) ** 2
            sizes.check_index(state_dict, name, shape, lambda: expected, rows)
