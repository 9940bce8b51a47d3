"""Other implementations of our networks (spandrel's), to compare ours with."""

from __future__ import annotations

from tiny import skip_initialisation
from torch import Tensor, nn

from hat_deploy.networks import windows
from hat_deploy.networks.by_spandrel.library import make_torchvision_importable
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.swinir.architecture import ARCHITECTURE
from hat_deploy.networks.swinir.network import SwinIR


def independent_hat(
    state_dict: dict[str, Tensor],
    *,
    conv_scale: float = 0.01,
    img_range: float = 1.0,
    qk_scale: float | None = None,
    shift: bool = True,
) -> nn.Module:
    """Spandrel's HAT, built from a state dict in the authors' layout, ready for inference."""
    make_torchvision_importable()
    from spandrel.architectures.HAT import HATArch
    from spandrel.architectures.HAT.__arch.HAT import HAB

    with skip_initialisation():
        model = HATArch().load(dict(state_dict)).model
    model.load_state_dict(state_dict, strict=True)
    model.img_range = img_range
    for module in model.modules():
        if hasattr(module, "conv_scale"):
            module.conv_scale = conv_scale
        if qk_scale is not None and hasattr(module, "relative_position_bias_table"):
            assert isinstance(module.scale, float)
            module.scale = qk_scale
        if not shift and isinstance(module, HAB):
            module.shift_size = 0  # what the authors' HAB does where a window is all there is
    return model.eval()


def independent_swinir(network: SwinIR) -> nn.Module:
    """Spandrel's SwinIR with the weights of ours, as they are saved."""
    make_torchvision_importable()
    from spandrel.architectures.SwinIR import SwinIRArch

    weights = ARCHITECTURE.stored(network)
    with skip_initialisation():
        model = SwinIRArch().load(dict(weights)).model
    model.load_state_dict(weights, strict=True)
    return model.eval()


def authors_state_dict(network: HAT) -> dict[str, Tensor]:
    """A network's weights with the index buffers, which other implementations insist on."""
    window, overlap = network.config.window_size, network.config.overlap_size
    state_dict = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state_dict["relative_position_index_SA"] = windows.relative_position_index(window)
    state_dict["relative_position_index_OCA"] = windows.overlapping_position_offset(window, overlap)
    return state_dict
