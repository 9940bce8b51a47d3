from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import FP16_MAX, amplified, peak, picture, random_network, run, tiny_config

from hat_deploy.metrics import compare
from hat_deploy.networks import windows
from hat_deploy.networks.deployed import Deployed
from hat_deploy.networks.hat.blocks import Attention
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.hat.tensor_cores import marks
from hat_deploy.precision import Precision

VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "heads of 8": {"embed_dim": 16},
    "no overlapping attention": {"ocab": False},
    "no channel attention": {"channel_attention": False},
    "another scale of q": {"qk_scale": 0.7},
    "no shift": {"shift": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(24, 16), (4, 4), (4, 12), (5, 9)])
def test_it_computes_the_same(variant: str, size: tuple[int, int]) -> None:
    network = random_network(tiny_config(**VARIANTS[variant])).double()
    spelled = network.for_tensor_cores()
    x = picture(*size, batch=2).double()
    # In float64, so that nothing but the marks can differ: the corner's are a mask of e^-32.
    assert compare(run(network, x), run(spelled, x)).max_abs < 1e-9


def test_in_fp32_too(tiny_network: HAT) -> None:
    x = picture(24, 16, batch=2)
    found = run(tiny_network.for_tensor_cores(), x)
    assert compare(run(tiny_network, x), found).max_abs <= 1e-6


def test_in_fp32_it_is_no_further_from_fp64_than_the_network() -> None:
    network = random_network(tiny_config(embed_dim=60, num_heads=2, depths=(2,)))
    x = picture(24, 16)
    truth = run(random_network(network.config).double().freeze(), x.double())
    own, spelled = (
        np.sqrt(np.mean((run(each, x) - truth) ** 2))
        for each in (network, network.for_tensor_cores())
    )
    assert spelled <= 1.2 * own < 1e-6


def test_the_network_itself_is_left_as_it_is(tiny_network: HAT) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_network.named_buffers()}
    tiny_network.for_tensor_cores()
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny_network.named_buffers())


@pytest.mark.parametrize("bias", [True, False])
def test_heads_are_multiples_of_eight(bias: bool) -> None:
    network = random_network(tiny_config())
    if not bias:
        for module in network.modules():
            if isinstance(module, Attention):
                module.qkv.bias = None
    spelled = network.for_tensor_cores()
    attentions = [module for module in spelled.modules() if isinstance(module, Attention)]
    assert len(attentions) == 6
    assert all(module.width == 8 for module in attentions)
    assert all(module.proj.in_features == 2 * 8 for module in attentions)
    assert compare(run(network, picture(8, 8)), run(spelled, picture(8, 8))).max_abs <= 1e-6


def test_marks_are_masks() -> None:
    """What they add to a score tells the same pairs apart as the authors' masks do."""
    for bottom in (False, True):
        for right in (False, True):
            q, k = marks(4, 2)[int(bottom), int(right)].chunk(2, -1)
            added = q @ k.T
            apart = windows.edge_mask(4, 2, bottom=bottom, right=right) != 0
            together = added[~apart]
            assert together.unique().numel() == 1
            if apart.any():
                assert float(together[0] - added[apart].max()) >= 32


def test_without_marks_it_would_not_be_the_same(tiny_network: HAT) -> None:
    spelled = tiny_network.for_tensor_cores()
    spelled.edge_masks.zero_()
    x = picture(24, 16)
    assert compare(run(tiny_network, x), run(spelled, x)).max_abs > 1e-3


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp16-pure"])
def test_half_precision_holds_its_floor(precision: str, tiny_network: HAT) -> None:
    x = picture(24, 16)
    converted = Deployed(tiny_network.for_tensor_cores().in_precision(precision), "float")
    with converted.network.spelled_out():
        found = run(converted, x)
    plain = Deployed(tiny_network.in_precision(precision), "float")
    with plain.network.spelled_out():
        before = compare(run(tiny_network, x), run(plain, x))
    difference = compare(run(tiny_network, x), found)
    assert difference.meets(Precision.of(precision).floor)
    assert difference.psnr > before.psnr - 2


def test_an_amplified_stream_stays_finite() -> None:
    network = amplified(tiny_config(depths=(6, 6)), 1e5)
    x = picture(16, 16)
    assert peak(network, x) > FP16_MAX
    converted = Deployed(network.for_tensor_cores().in_precision("fp16"), "float")
    with converted.network.spelled_out():
        assert compare(run(network, x), run(converted, x)).meets(Precision.FP16.floor)
