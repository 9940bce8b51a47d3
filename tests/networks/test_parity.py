"""Our HAT against an independent one, in fp32, on random weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from independent import authors_state_dict, independent_hat
from tiny import picture, random_network, tiny_config

from hat_deploy.networks.hat.config import VARIANTS
from hat_deploy.networks.hat.network import HAT

TOLERANCE = 1e-5


def difference(network: HAT, *sizes: tuple[int, int], batch: int = 1) -> float:
    config = network.config
    other = independent_hat(
        authors_state_dict(network),
        conv_scale=config.conv_scale,
        img_range=config.img_range,
        qk_scale=config.qk_scale,
        shift=config.shift,
    )
    worst = 0.0
    for height, width in sizes:
        x = picture(height, width, channels=config.in_channels, batch=batch)
        with torch.no_grad():
            ours, theirs = network(x), other(x)
        assert ours.shape == theirs.shape
        assert ours.shape[2:] == (height * config.scale, width * config.scale)
        # A flat picture would prove nothing; img_range divides all that varies.
        assert theirs.std() * config.img_range > 0.05
        worst = max(worst, (ours - theirs).abs().max().item())
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name: str, scale: int) -> None:
    network = random_network(replace(VARIANTS[name], scale=scale))
    assert difference(network, (16, 32)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["HAT-S", "HAT"])
def test_published_width_on_many_windows(name: str) -> None:
    """Enough windows that all four patterns of a shifted map occur."""
    config = replace(VARIANTS[name], depths=(2,), num_heads=(6,))
    assert difference(random_network(config), (48, 64), (45, 50)) <= TOLERANCE


@pytest.mark.parametrize("window", [8, 16])
def test_sizes_that_are_no_multiple_of_the_window(window: int) -> None:
    network = random_network(tiny_config(window_size=window))
    sizes = [(window, window), (3 * window, window), (window + 1, 2 * window - 1), (37, 21)]
    assert difference(network, *sizes) <= TOLERANCE


@pytest.mark.parametrize(
    "changes",
    [
        {"in_channels": 1},
        {"in_channels": 4},
        {"scale": 1},
        {"scale": 8},
        {"scale": 16},
        {"window_size": 7, "overlap_ratio": 0.3},
        {"overlap_ratio": 0.0},
        {"overlap_ratio": 1.0},
        {"window_size": 8, "overlap_ratio": 2.5},
        {"num_heads": 3},
        {"num_heads": 1, "embed_dim": 10},
        {"compress_ratio": 5, "squeeze_factor": 7},
        {"mlp_ratio": 3.5},
        {"depths": (1, 3, 2)},
        {"conv_scale": 0.7},
        {"img_range": 255.0},
        {"qk_scale": 0.9},
        {"qk_scale": -0.2},
        {"shift": False},
        {"window_size": 8, "shift": False, "qk_scale": 1.5},
    ],
    ids=lambda changes: " ".join(f"{key}={value}" for key, value in changes.items()),
)
def test_other_shapes(changes: dict[str, object]) -> None:
    network = random_network(tiny_config(**{"scale": 2, **changes}))
    assert difference(network, (16, 24), (13, 9)) <= TOLERANCE


@pytest.mark.parametrize(
    "changes",
    [
        {"qkv_bias": False},
        {"patch_norm": False},
        {"body_conv": False},
        {"upsampler_channels": 20},
        {"num_heads": (2, 4)},
    ],
    ids=lambda changes: " ".join(f"{key}={value}" for key, value in changes.items()),
)
def test_options_outside_the_published_files(changes: dict[str, object]) -> None:
    network = random_network(replace(tiny_config(), **changes))
    assert difference(network, (12, 8)) <= TOLERANCE


def test_batches() -> None:
    assert difference(random_network(tiny_config()), (8, 12), batch=3) <= TOLERANCE


def test_without_cab_is_alpha_zero() -> None:
    config = tiny_config(conv_scale=0.0)
    network = random_network(config)
    bare = HAT(replace(config, cab_channels=0, squeeze_channels=0))
    kept = {name: x for name, x in network.state_dict().items() if "conv_block" not in name}
    bare.load_state_dict(kept)
    assert_equals_independent(bare.freeze(), network)


def test_without_ocab_is_ocab_that_adds_nothing() -> None:
    network = random_network(tiny_config())
    for name, parameter in network.named_parameters():
        if "overlap_attn.proj." in name or "overlap_attn.mlp.fc2." in name:
            parameter.zero_()
    bare = HAT(replace(network.config, overlap_size=0))
    kept = {name: x for name, x in network.state_dict().items() if "overlap_attn" not in name}
    bare.load_state_dict(kept)
    assert_equals_independent(bare.freeze(), network)


def test_without_channel_attention_is_a_gate_of_one() -> None:
    network = random_network(tiny_config(conv_scale=0.7))
    for name, parameter in network.named_parameters():
        if "attention.3.weight" in name:
            parameter.zero_()
        elif "attention.3.bias" in name:
            parameter.fill_(40.0)  # the sigmoid of it is 1 in float32
    bare = HAT(replace(network.config, squeeze_channels=0))
    kept = {name: x for name, x in network.state_dict().items() if ".attention." not in name}
    bare.load_state_dict(kept)
    assert_equals_independent(bare.freeze(), network)


def assert_equals_independent(bare: HAT, whole: HAT) -> None:
    """``bare``, without a part, computes what the other implementation does with it silenced."""
    other = independent_hat(authors_state_dict(whole), conv_scale=whole.config.conv_scale)
    x = picture(12, 20)
    with torch.no_grad():
        assert (bare(x) - other(x)).abs().max() <= TOLERANCE


def test_the_test_would_notice() -> None:
    """Swapping two rows of one bias table is visible far above the tolerance."""
    network = random_network(tiny_config())
    other = independent_hat(authors_state_dict(network))
    for table in ("blocks.1.attn", "overlap_attn"):
        changed = random_network(tiny_config())
        module = changed.get_submodule(f"layers.1.residual_group.{table}")
        rows = module.relative_position_bias_table
        rows.copy_(rows.flip(0))
        changed.freeze()
        x = picture(8, 12)
        with torch.no_grad():
            assert (changed(x) - other(x)).abs().max() > 100 * TOLERANCE
