from __future__ import annotations

import pytest
import torch
from networks import picture, random_network, tiny_config
from test_precision import FP16_MAX, amplified, peak

from hat_deploy.hat.network import HAT
from hat_deploy.hat.ranges import advice, measure


def test_every_block_is_measured_in_order(tiny_network: HAT) -> None:
    peaks = measure(tiny_network, [picture(8, 8), picture(12, 8, seed=1)])
    assert [p.kind for p in peaks] == ["HAB", "HAB", "OCAB", "RHAG"] * 2
    assert peaks[0].block == "layers.0.residual_group.blocks.0"
    assert all(p.stream > 0 for p in peaks)
    assert [p.inside > 0 for p in peaks] == [True, True, True, False] * 2


def test_peaks_are_the_largest_over_all_pictures(tiny_network: HAT) -> None:
    pictures = [picture(8, 8, seed=seed) for seed in range(3)]
    together = measure(tiny_network, pictures)
    apart = [measure(tiny_network, [x]) for x in pictures]
    for i, found in enumerate(together):
        assert found.stream == max(peaks[i].stream for peaks in apart)
        assert found.inside == max(peaks[i].inside for peaks in apart)


def test_a_large_stream_advises_against_pure_half() -> None:
    network, x = random_network(tiny_config()), picture(24, 16, seed=3)
    with torch.no_grad():
        network.patch_embed.norm.weight.mul_(2.0**15)
    peaks = measure(network, [x])
    assert max(p.stream for p in peaks if p.kind == "RHAG") == peak(network, x) > FP16_MAX
    assert "not fp16-pure" in advice(peaks)


def test_weights_that_are_scaled_down_in_half_are_no_danger() -> None:
    peaks = measure(amplified(tiny_config(), 2.0**18), [picture(24, 16, seed=3)])
    assert max(p.stream for p in peaks) > FP16_MAX > 100 * max(p.inside for p in peaks)


def test_no_pictures_are_refused(tiny_network: HAT) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        measure(tiny_network, [])


def test_ordinary_values_are_safe(tiny_network: HAT) -> None:
    assert "fp16 is safe" in advice(measure(tiny_network, [picture(8, 8)]))


def test_a_layer_beyond_half_precision_calls_for_bf16() -> None:
    network = random_network(tiny_config())
    with torch.no_grad():
        network.layers[0].residual_group.blocks[0].mlp.fc1.weight.mul_(1e6)
    assert "use bf16" in advice(measure(network, [picture(8, 8)]))


def test_values_that_are_not_numbers_count_as_infinite() -> None:
    network = random_network(tiny_config())
    with torch.no_grad():
        network.conv_first.weight.fill_(float("nan"))
    peaks = measure(network, [picture(8, 8)])
    assert peaks[-1].stream == float("inf")


@pytest.mark.parametrize("factor", [1.0, 2.0**9])
def test_the_network_is_left_without_hooks(factor: float) -> None:
    network = amplified(tiny_config(), factor)
    measure(network, [picture(8, 8)])
    assert not any(module._forward_hooks for module in network.modules())
