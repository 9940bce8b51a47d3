"""A HAT spelled for TensorRT: the same weights, in shapes that tensor cores and fused kernels take.

Heads are padded to a multiple of eight channels, which every TensorRT fuses into one kernel, and a
shifted block is one attention over all windows instead of four over those that share a mask. What
a mask would keep apart, two of the padding channels keep apart, the *marks*: what q's and k's add
to a score is 0 in the interior; -100 at an edge, between the two sides that the shift brought
together; and in the one corner window 32, 0 or -32, by the number of borders between. A softmax
sees differences only, so both are masks: of e^-100, as the authors', and of e^-32.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

from hat_deploy.geometry import round_up
from hat_deploy.networks.hat.blocks import MARKS, OCAB, Attention, WindowAttention
from hat_deploy.networks.network import Network
from hat_deploy.networks.windows import MASKED

_N = TypeVar("_N", bound=Network)

HEAD_MULTIPLE = 8
"""TensorRT 10.0 to 10.13 fuse attention for no other number of channels in a head."""
_CORNER = 4.0
"""A mark of the corner window; half precision rounds scores near twice its square to 0.03."""


def spelled(network: _N) -> _N:
    """A frozen copy that computes the same; the network itself is only frozen.

    Args:
        network: float32, with weights loaded.
    """
    network = copy.deepcopy(network.freeze())
    for module in network.modules():
        if isinstance(module, Attention):
            _pad(module)
    window = network.config.window
    network.register_buffer("edge_masks", marks(window, window // 2), persistent=False)
    return network


def marks(window: int, shift: int) -> Tensor:
    """The marks of the four kinds of window of a shifted map.

    Returns:
        (2, 2, window**2, 2 * MARKS): whether the window is at the bottom, whether it is at the
        right, its tokens, and for each the channels of q and then those of k.
    """
    far = (torch.arange(window) >= window - shift).float()
    rows, columns = torch.meshgrid(far, far, indexing="ij")
    corner = _CORNER * (2 * torch.stack([rows, columns], -1) - 1)
    interior = torch.zeros(window, window, 2 * MARKS)
    kinds = [interior, _edge(columns), _edge(rows), torch.cat([corner, corner], -1)]
    return torch.stack(kinds).reshape(2, 2, window**2, 2 * MARKS)


def _edge(far: Tensor) -> Tensor:
    """Marks of two sides: each q meets, in the k's of the other side alone, ``MASKED``."""
    q = torch.stack([1 - far, far], -1) * (-MASKED) ** 0.5
    return torch.cat([q, -q.flip(-1)], -1)


def _pad(attention: Attention) -> None:
    """Widen the heads, and give the projection of their result weights of zero to match.

    OCAB's are widened by weights too: of zeros that come later, TensorRT makes a kernel more.
    """
    heads, qkv, proj = attention.heads, attention.qkv, attention.proj
    marked = isinstance(attention, WindowAttention) and attention.shift
    own = proj.in_features // heads
    attention.width = width = round_up(own + (MARKS if marked else 0), HEAD_MULTIPLE)
    more = (0, width - own)
    attention.proj = _linear(F.pad(proj.weight.unflatten(1, (heads, own)), more), proj.bias)
    if isinstance(attention, OCAB):
        rows = F.pad(qkv.weight.T.unflatten(1, (3 * heads, own)), more).flatten(1).T
        bias = None if qkv.bias is None else F.pad(qkv.bias.unflatten(0, (-1, own)), more)
        attention.qkv = _linear(rows, bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer of given weights, (outputs, inputs) and (outputs,), of any more dimensions."""
    weight = weight.flatten(1).contiguous()
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.flatten(), requires_grad=False)
    return layer
