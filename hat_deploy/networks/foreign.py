"""Weights of no network that is known here: what they look like."""

from __future__ import annotations

import re
from collections.abc import Collection

from hat_deploy.networks.weights import listing

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
    ("an incomplete or modified HAT", r"\.(conv_block\.cab|overlap_attn)\."),
    (
        "an incomplete or modified HAT or SwinIR",
        r"residual_group\.blocks\.[0-9]+\.(attn\.|norm1\.|mlp\.)",
    ),
    ("an EDSR with BasicSR's names", r"(^|\.)body\.0\.conv1\.weight$"),
    ("an incomplete or modified EDSR", r"(^|\.)body\.0\.body\.0\.weight$"),
    ("a compact SRVGG", r"(^|\.)body\.1\.weight$"),
    ("a discriminator", r"(^|\.)(conv9|linear2)\.weight$"),
)


def explain(names: Collection[str], looked_for: tuple[str, ...], known: Collection[str]) -> str:
    """Why these weights are none of ours, for people.

    Args:
        names: of the tensors.
        looked_for: names that the nearest network has.
        known: the names of all known networks, each with its article.
    """
    missing = [name for name in looked_for if name not in names]
    return (
        f"the weights are not those of {' or '.join(known)}: {len(missing)} of "
        f"{len(looked_for)} keys looked for are missing ({listing(missing)}), and there are "
        f"{listing(names, 3)}; {_guess(names)}"
    )


def _guess(names: Collection[str]) -> str:
    for network, pattern in _FOREIGN:
        if any(re.search(pattern, name) for name in names):
            return f"they look like those of {network}"
    return "the network is not a known one"
