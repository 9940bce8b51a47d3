"""A tiny network with random weights of each architecture that spandrel knows.

As small as the architecture's own parameters allow; what spandrel fixes when it loads (GFPGAN's
widths) is left as it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hat_deploy.networks.by_spandrel.library import make_torchvision_importable

_WINDOWED: dict[str, Any] = {
    "embed_dim": 24,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "upscale": 2,
    "upsampler": "pixelshuffle",
}

PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "ATD": _WINDOWED | {"window_size": 8, "category_size": 64, "num_tokens": 16},
    "AuraSR": {
        "dim": 16,
        "image_size": 256,
        "input_image_size": 64,
        "style_network": {"dim_in": 16, "dim_out": 64, "depth": 2, "dim_text_latent": 0},
        "self_attn_dim_head": 8,
        "self_attn_heads": 8,
    },
    "CRAFT": {"embed_dim": 64, "depths": [2, 2], "num_heads": [2, 2], "upscale": 2},
    "Compact": {"num_feat": 16, "num_conv": 4, "upscale": 2},
    "DAT": {
        "embed_dim": 64,
        "split_size": [8, 16],
        "depth": [2, 2],
        "num_heads": [2, 2],
        "expansion_factor": 2.0,
        "upscale": 2,
    },
    "DCTLSA": {"nf": 20, "upscale": 2},
    "DITN": {"dim": 24, "ITL_blocks": 2, "SAL_blocks": 2, "upscale": 2},
    "DRCT": _WINDOWED | {"depths": (6, 6), "gc": 8},
    "DRUNet": {"in_nc": 4, "out_nc": 3, "nc": [8, 16, 16, 32], "nb": 2},
    "DnCNN": {"in_nc": 3, "out_nc": 3, "nc": 16, "nb": 5},
    "ESRGAN": {"num_filters": 16, "num_blocks": 2, "scale": 4},
    "FBCNN": {"nc": [8, 16, 16, 512], "nb": 2},
    "FDAT": {"embed_dim": 32, "num_groups": 1, "depth_per_group": 2, "scale": 2},
    "FFTformer": {"dim": 16, "num_blocks": [1, 1, 2], "num_refinement_blocks": 1},
    "GFPGAN": {},
    "GRL": {
        "embed_dim": 24,
        "depths": [2, 2],
        "num_heads_window": [2, 2],
        "num_heads_stripe": [2, 2],
        "upscale": 2,
        "upsampler": "pixelshuffle",
        "stripe_size": [32, 64],
        "stripe_groups": [None, None],
        "mlp_ratio": 2,
        "anchor_window_down_factor": 4,
        "local_connection": True,
    },
    "HAT": _WINDOWED | {"window_size": 16, "compress_ratio": 3, "squeeze_factor": 4},
    "HVICIDNet": {"channels": [8, 8, 16, 32]},
    "IPT": {"n_feats": 12, "num_layers": 1, "scale": [2]},
    "KBNet": {"width": 16, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    "LaMa": {"in_nc": 4},
    "MMRealSR": {
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 16,
        "num_block": 2,
        "num_grow_ch": 8,
    },
    "MixDehazeNet": {"embed_dims": [8, 16, 32, 16, 8]},
    "MoESR": {"dim": 16, "n_blocks": 2, "n_block": 1, "scale": 2},
    "MoSR": {"n_block": 2, "dim": 16, "upscale": 2},
    "NAFNet": {"width": 8, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    "OmniSR": {"num_feat": 16, "res_num": 1, "up_scale": 2},
    "PLKSR": {"dim": 16, "n_blocks": 2, "upscaling_factor": 2},
    "RCAN": {"scale": 2, "n_resgroups": 2, "n_resblocks": 2, "n_feats": 16, "reduction": 4},
    "RGT": {"embed_dim": 64, "depth": [2, 2], "num_heads": [2, 2], "split_size": [8, 16]},
    "RealCUGAN": {},
    "RestoreFormer": {"ch": 32, "n_embed": 64, "embed_dim": 32, "z_channels": 32},
    "RetinexFormer": {"n_feat": 8, "stage": 1},
    "SAFMN": {"dim": 16, "n_blocks": 2, "upscaling_factor": 2},
    "SAFMNBCIE": {"dim": 16, "n_blocks": 1, "num_layers": 1},
    "SCUNet": {"config": [2, 2, 2, 2, 2, 2, 2], "dim": 64},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16, "upscale": 2},
    "SeemoRe": {"scale": 2, "num_experts": 3, "num_layers": 2, "embedding_dim": 16},
    "SwiftSRGAN": {"num_channels": 16, "num_blocks": 2, "upscale_factor": 2},
    "Swin2SR": _WINDOWED | {"window_size": 8, "mlp_ratio": 2},
    "SwinIR": _WINDOWED | {"window_size": 8, "mlp_ratio": 2},
    "Uformer": {"embed_dim": 8, "depths": [1] * 9, "num_heads": [1] * 9},
}
"""What each is built with, by spandrel's name."""

_CLASSES = {"KBNet": "KBNet_s", "RealCUGAN": "UpCunet2x", "PLKSR": "RealPLKSR"}


def instance(name: str) -> dict[str, Tensor]:
    """The weights of the tiny network of an architecture, as its training code would save them."""
    make_torchvision_importable()
    module = importlib.import_module(f"spandrel.architectures.{name}")
    torch.manual_seed(0)
    network: nn.Module = getattr(module, _CLASSES.get(name, name))(**PARAMETERS[name])
    _settle(network)
    return dict(network.state_dict())


def _settle(network: nn.Module) -> None:
    """Give parameters that start at zero a value, so that no branch is without effect."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.is_floating_point() and not parameter.any():
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
