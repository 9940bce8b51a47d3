"""HAT with AST: an OCAB whose attention is partly a squared ReLU, and whose MLP is an FRFN.

After "Adapt or Perish: Adaptive Sparse Transformer with Attentive Feature Refinement for Image
Restoration" (CVPR 2024), with one learned scalar an OCAB.
"""

from __future__ import annotations

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

from hat_deploy.networks.hat.blocks import OCAB, Size, entering, score, to_map, to_tokens
from hat_deploy.networks.hat.config import HATConfig

_LEAST = 1e-30
"""Stands for a sum of attention weights that is 0."""


class FRFN(nn.Module):
    """Feature refinement feed-forward network: an MLP with a convolution on a quarter of its
    channels, and a gate that looks at its neighbours."""

    def __init__(self, config: HATConfig) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, config.mlp_channels
        self.convolved = dim // 4
        self.linear1 = nn.Sequential(nn.Linear(dim, 2 * hidden), nn.GELU())
        depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.dwconv = nn.Sequential(depthwise, nn.GELU())
        self.linear2 = nn.Sequential(nn.Linear(hidden, dim))
        self.partial_conv3 = nn.Conv2d(self.convolved, self.convolved, 3, padding=1, bias=False)
        self.gated = nn.Identity()
        """Where the product of both halves can be watched: it is of no layer's own."""

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """(B, H * W, C) to the same."""
        x = entering(x, self.partial_conv3)
        near, rest = x[..., : self.convolved], x[..., self.convolved :]
        near = to_tokens(self.partial_conv3(to_map(near, size)))
        gate, value = self.linear1(torch.cat([near, rest], -1)).chunk(2, -1)
        gate = to_tokens(self.dwconv(to_map(gate, size)))
        return self.linear2(self.gated(gate * value))


class SparseOCAB(OCAB):
    """An OCAB whose weights are sigmoid(w) softmax(s) + (1 - sigmoid(w)) relu(s)^2.

    The second term is not normalised: with scores of 300 it passes fp16's largest number. In half
    precision the weights are therefore made in fp32, divided by their sum and multiplied with v
    in half, and the result is multiplied by the sum in fp32, where ``proj`` takes it.
    """

    def __init__(self, config: HATConfig, heads: int) -> None:
        super().__init__(config, heads)
        del self.mlp  # the FRFN is in its place
        self.ast_weight = nn.Parameter(torch.zeros(1))
        self.frfn = FRFN(config)
        self.weighed = nn.Identity()
        """Where the attention's result can be watched: it is of no layer's own."""

    def feed_forward(self, x: Tensor, size: Size) -> Tensor:
        """The FRFN."""
        return self.frfn(x, size)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """See :meth:`~hat_deploy.networks.hat.blocks.Attention.attend`; no fused call has it.

        Returns:
            float32 where the network is in half.
        """
        for step in score(q, k, bias, mask, self.scale):
            if self.on_score is not None:
                self.on_score(step)
        scores = step.float()
        share = torch.sigmoid(self.ast_weight.float())
        squared = F.relu(scores).square()
        weights = torch.softmax(scores, dim=-1) * share + squared * (1 - share)
        if v.dtype == weights.dtype:
            return self.weighed(weights @ v)
        total = weights.sum(-1, keepdim=True).clamp_min(_LEAST)
        mean = (weights / total).to(v.dtype) @ v
        return self.weighed(mean.float() * total)
