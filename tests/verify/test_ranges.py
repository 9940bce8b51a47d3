from __future__ import annotations

import pytest
import torch
from tiny import (
    FP16_MAX,
    amplified,
    peak,
    picture,
    random_network,
    tiny_config,
    with_constant_scores,
)

from hat_deploy.networks.hat.blocks import CAB, Attention
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.ranges import advice, measure


def test_every_block_is_measured_in_order(tiny_network: HAT) -> None:
    peaks = measure(tiny_network, [picture(8, 8), picture(12, 8, seed=1)])
    assert [p.kind for p in peaks] == [*["HAB", "HAB", "OCAB", "RHAG"] * 2, "HAT"]
    assert (peaks[0].block, peaks[-1].block) == ("layers.0.residual_group.blocks.0", "rest")
    assert all(p.everything >= p.stream > 0 for p in peaks)
    assert [p.inside > 0 for p in peaks] == [*[True, True, True, False] * 2, True]
    assert [p.scores > 0 for p in peaks] == [*[True, True, True, False] * 2, False]


def test_peaks_are_the_largest_over_all_pictures(tiny_network: HAT) -> None:
    pictures = [picture(8, 8, seed=seed) for seed in range(3)]
    together = measure(tiny_network, pictures)
    apart = [measure(tiny_network, [x]) for x in pictures]
    for i, found in enumerate(together):
        assert found.stream == max(peaks[i].stream for peaks in apart)
        assert found.inside == max(peaks[i].inside for peaks in apart)
        assert found.scores == max(peaks[i].scores for peaks in apart)


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
    with pytest.raises(ValueError, match="no images"):
        measure(tiny_network, [])


def test_ordinary_values_are_safe(tiny_network: HAT) -> None:
    assert "fp16 is safe" in advice(measure(tiny_network, [picture(8, 8)]))


def test_a_layer_beyond_half_precision_calls_for_bf16() -> None:
    network = random_network(tiny_config())
    with torch.no_grad():
        network.layers[0].residual_group.blocks[0].mlp.fc1.weight.mul_(1e6)
    assert "use bf16" in advice(measure(network, [picture(8, 8)]))


def test_attention_scores_beyond_half_precision_are_unsafe_in_it() -> None:
    """The residual stream and all layers are small; only the products of q and k are not."""
    peaks = measure(with_constant_scores(600), [picture(8, 8)])
    assert max(max(p.stream, p.inside) for p in peaks) < FP16_MAX / 50
    # OCAB's keys outside the image are zeros, but those inside are not.
    expected = 600 * 600 / 6**0.5
    assert [p.scores for p in peaks if p.scores] == pytest.approx([expected] * 6, rel=1e-3)
    said = advice(peaks)
    assert "attention scores" in said
    assert "fp16 may overflow" in said
    assert "fp16 is safe" in advice(measure(with_constant_scores(30), [picture(8, 8)]))


def test_scores_are_measured_on_their_way_too() -> None:
    """A large factor on q overflows before k is met; a mask may hide what was there before it."""
    network = random_network(tiny_config(qk_scale=1e6))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Attention):
                module.qkv.weight[12:24] = 0
                module.qkv.bias[12:24] = 0
    peaks = measure(network.freeze(), [picture(8, 8)])
    assert all(p.scores > FP16_MAX for p in peaks if p.kind in ("HAB", "OCAB"))


def test_a_layer_that_fp16_scales_down_forbids_pure_half() -> None:
    """What CAB's second convolution gives is made small by alpha before any sum."""
    network = random_network(tiny_config(conv_scale=1e-5))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, CAB):
                for parameter in module.cab[2].parameters():
                    parameter.mul_(1e6)
    peaks = measure(network, [picture(8, 8)])
    assert max(p.stream for p in peaks) < FP16_MAX / 4 < max(p.everything for p in peaks)
    assert "where fp16-pure computes them: use fp16" in advice(peaks)


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
    assert all(m.on_score is None for m in network.modules() if isinstance(m, Attention))
