from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import FP16_MAX, amplified, peak, picture, random_network, run, tiny_config
from torch import Tensor

from hat_deploy.metrics import Difference, compare
from hat_deploy.networks.deployed import Deployed
from hat_deploy.networks.hat.islands import convert
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.scaled import Scaled


def difference(network: HAT, precision: str) -> Difference:
    """The network in a precision, in PyTorch on the CPU, against itself in fp32."""
    x = picture(24, 16, seed=3)
    expected = run(network, x)
    return compare(expected, run(Deployed(convert(network, precision), "float"), x))


@pytest.mark.parametrize(
    ("precision", "floor"), [("fp16", 60), ("bf16", 50), ("fp16-pure", 50), ("fp32", 300)]
)
def test_ordinary_weights_keep_their_numbers(
    tiny_network: HAT, precision: str, floor: float
) -> None:
    assert difference(tiny_network, precision).meets(floor)


@pytest.mark.parametrize("factor", [2.0**14, 2.0**18])
def test_a_stream_beyond_half_precision_is_lost_in_pure_half_and_kept_in_mixed(
    factor: float,
) -> None:
    network = amplified(tiny_config(), factor)
    assert peak(network, picture(24, 16, seed=3)) > FP16_MAX
    assert difference(network, "fp16-pure").non_finite > 0
    assert difference(network, "fp16").meets(60)
    assert difference(network, "bf16").meets(50)


def test_very_large_weights_are_scaled_by_powers_of_two_and_ordinary_ones_are_not() -> None:
    def factors(network: HAT) -> list[Tensor]:
        return [m.factor for m in convert(network, "fp16").modules() if isinstance(m, Scaled)]

    assert factors(random_network(tiny_config())) == []
    scaled = factors(amplified(tiny_config(), 2.0**17))
    assert scaled and all((factor.log2() % 1 == 0).all() for factor in scaled)


@pytest.mark.parametrize("factor", [1000.0, 2.0**24])
def test_one_row_of_very_large_weights_costs_the_others_nothing(factor: float) -> None:
    """A channel is written much larger than the others, and read by one layer, to the same end."""
    network = random_network(tiny_config())
    usual = difference(network, "fp16").psnr
    with torch.no_grad():
        for group in network.layers:
            for parameter in group.residual_group.overlap_attn.mlp.fc2.parameters():
                parameter[3] *= factor
            group.conv.weight[:, 3] /= factor
    assert difference(network, "fp16").psnr > usual - 3
    scaled = convert(network, "fp16").layers[0].residual_group.overlap_attn.mlp.fc2
    assert isinstance(scaled, Scaled)
    assert (scaled.factor > 1).tolist() == [row == 3 for row in range(12)]


def test_the_original_stays_as_it_was(tiny_network: HAT) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_network.state_dict().items()}
    convert(tiny_network, "fp16")
    assert convert(tiny_network, "fp32") is tiny_network
    after = tiny_network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_bytes_in_and_out_equal_the_rounded_float_path(precision: str) -> None:
    network = convert(random_network(tiny_config()), precision)
    pixels = torch.randint(0, 256, (2, 8, 12, 3), dtype=torch.uint8)
    tensor = torch.from_numpy(
        np.divide(pixels.numpy().transpose(0, 3, 1, 2), 255, dtype=np.float64).astype(np.float32)
    )
    floats = run(Deployed(network, "float"), tensor)
    expected = np.rint(np.clip(floats, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    assert floats.dtype == np.float32
    with torch.inference_mode():
        rounded, peaks = Deployed(network, "uint8")(pixels)
    assert np.array_equal(rounded.numpy(), expected)
    assert np.array_equal(peaks.numpy(), np.abs(floats).max(axis=(1, 2, 3)))


def test_only_what_is_normalised_is_in_half(tiny_network: HAT) -> None:
    mixed = convert(tiny_network, "fp16")
    half = {
        name.rsplit(".", 1)[0]
        for name, parameter in mixed.named_parameters()
        if parameter.dtype == torch.float16
    }
    block = "layers.0.residual_group.blocks.1."
    assert {block + "attn.qkv", block + "mlp.fc2", block + "conv_block.cab.0"} <= half
    single = {"conv_first", "layers.0.conv", "conv_before_upsample.0", "conv_last", "norm"}
    assert not half & (single | {block + "norm1", block + "conv_block.cab.3.attention.1"})
