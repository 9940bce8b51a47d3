"""Tiny networks, and ways to fill and save them, for all tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from hat_deploy.networks.edsr.config import EDSRConfig
from hat_deploy.networks.edsr.network import EDSR
from hat_deploy.networks.hat.blocks import CAB, HAB, OCAB, Attention, ChannelAttention
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.network import HAT, RHAG
from hat_deploy.networks.swinir.config import SwinIRConfig
from hat_deploy.networks.swinir.network import SwinIR

TINY: dict[str, Any] = {
    "embed_dim": 12,
    "depths": (2, 2),
    "num_heads": 2,
    "window_size": 4,
    "squeeze_factor": 4,
}


def tiny_config(scale: int = 2, **changes: Any) -> HATConfig:
    """A HAT of 2 x 2 blocks, 12 channels and windows of 4; ``changes`` as for ``published``."""
    return HATConfig.published(scale, **(TINY | changes))


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Give every bias, LayerNorm and bias table values that a mistake could not hide behind."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("relative_position_bias_table"):
                parameter.copy_(noise)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.1 * noise)
            else:
                # Linear weights start so small that attention would be nearly uniform.
                spread = 1.0 if "attention" in name else 0.7
                parameter.copy_(spread * noise / parameter[0].numel() ** 0.5)


@contextmanager
def skip_initialisation() -> Iterator[None]:
    """Build big networks in a fraction of the time: drawing initial values is most of it.

    Every parameter must be given a value afterwards.
    """
    with ExitStack() as stack:
        for name in ("trunc_normal_", "kaiming_uniform_", "uniform_"):
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *a, **k: tensor))
        yield


def random_network(config: HATConfig, seed: int = 0) -> HAT:
    """A HAT with random weights, frozen."""
    with skip_initialisation():
        network = HAT(config)
    randomise(network, seed)
    return network.freeze()


def random_edsr(seed: int = 0) -> EDSR:
    """An EDSR of one block and 8 channels with random weights, x2, frozen."""
    network = EDSR(EDSRConfig(scale=2, features=8, blocks=1))
    randomise(network, seed)
    return network.freeze()


def tiny_swinir(upsampler: str, scale: int, **changes: Any) -> SwinIRConfig:
    """A SwinIR of 2 x 2 blocks, 12 channels and windows of 4."""
    own = upsampler in ("pixelshuffle", "nearest+conv")
    values: dict[str, Any] = {
        "embed_dim": 12,
        "depths": (2, 2),
        "num_heads": (2, 2),
        "window_size": 4,
        "mlp_channels": 24,
        "upsampler_channels": 64 if own else 0,
    }
    return SwinIRConfig(scale=scale, upsampler=upsampler, **(values | changes))


def random_swinir(config: SwinIRConfig, seed: int = 0) -> SwinIR:
    """A SwinIR with random weights, frozen."""
    with skip_initialisation():
        network = SwinIR(config)
    randomise(network, seed)
    return network.freeze()


def fingerprint(network: nn.Module) -> str:
    """Equal for equal weights, whatever object holds them."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def picture(height: int, width: int, *, channels: int = 3, batch: int = 1, seed: int = 0) -> Tensor:
    """(batch, channels, height, width) in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, channels, height, width, generator=generator)


def save_tensors(
    tensors: dict[str, Tensor],
    path: Path,
    *,
    wrapper: str | None = "params_ema",
    prefix: str = "",
    **extra: Any,
) -> Path:
    """Save weights as training tools do: under a wrapper, with a prefix, beside other things."""
    renamed = {prefix + name: tensor for name, tensor in tensors.items()}
    torch.save({wrapper: renamed, **extra} if wrapper else renamed | extra, path)
    return path


FP16_MAX = 65504.0


def run(network: nn.Module, x: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network(x).numpy()


def amplified(config: HATConfig, factor: float) -> HAT:
    """A random network whose residual stream is ``factor`` times as large, to the same end.

    Everything that writes to the stream is multiplied; what reads it is a LayerNorm, which
    undoes that, or linear, and passes it on to a reader that is divided.
    """
    network = random_network(config)

    def scale(layer: nn.Module) -> None:
        for parameter in layer.parameters():
            parameter.mul_(factor)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (HAB, OCAB)):
                scale(module.mlp.fc2)
                scale(module.attn.proj if isinstance(module, HAB) else module.proj)
            if isinstance(module, CAB):
                scale(module.cab[2])
            if isinstance(module, ChannelAttention):
                module.attention[1].weight.div_(factor)
            if isinstance(module, RHAG):
                module.conv.bias.mul_(factor)
        for layer in (network.conv_first, network.patch_embed.norm, network.conv_after_body):
            scale(layer)
        network.conv_before_upsample[0].weight.div_(factor)
    return network.freeze()


def amplified_swinir(config: SwinIRConfig, factor: float) -> SwinIR:
    """As :func:`amplified`."""
    network = random_swinir(config)
    read_by = {"pixelshuffledirect": "upsample.0", "none": "conv_last"}
    reader = read_by.get(config.upsampler, "conv_before_upsample.0")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            written = name.startswith(("conv_first.", "patch_embed.norm."))
            inside = "residual_group.blocks" in name and (".attn.proj." in name or ".fc2." in name)
            closing = ".conv." in name and name.endswith("bias")
            last = name.startswith(("conv_after_body.4.", "conv_after_body.weight"))
            if written or inside or closing or last or name == "conv_after_body.bias":
                parameter.mul_(factor)
        network.get_submodule(reader).weight.div_(factor)
    return network.freeze()


def peak(network: HAT | SwinIR, x: Tensor) -> float:
    """The largest absolute value that leaves any RHAG."""
    seen = []
    handles = [
        group.register_forward_hook(lambda module, args, y: seen.append(float(y.abs().max())))
        for group in network.layers
    ]
    run(network, x)
    for handle in handles:
        handle.remove()
    return max(seen)


def with_constant_scores(value: float) -> HAT:
    """One channel of q and one of k in each head are constant, which softmax does not see."""
    network = random_network(tiny_config())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Attention):
                for row in (0, 6, 12, 18):  # the first channel of both heads, of q and of k
                    module.qkv.weight[row] = 0
                    module.qkv.bias[row] = value
    return network.freeze()
