from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from tiny import tiny_config

from hat_deploy.networks.hat.config import VARIANTS, HATConfig


def test_published_ratios_become_channels() -> None:
    small = VARIANTS["HAT-S"]
    assert (small.cab_channels, small.squeeze_channels, small.mlp_channels) == (6, 6, 288)
    full = VARIANTS["HAT"]
    assert (full.cab_channels, full.squeeze_channels, full.mlp_channels) == (60, 6, 360)
    assert (full.window_size, full.overlap_size) == (16, 24)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_known_at_any_scale(name: str) -> None:
    for scale in (2, 3, 4):
        assert replace(VARIANTS[name], scale=scale, img_range=255.0).variant == name
        assert replace(VARIANTS[name], scale=scale, qk_scale=0.5, shift=False).variant == name
    assert replace(VARIANTS[name], window_size=8, overlap_size=12).variant == "custom"


@pytest.mark.parametrize(
    "config",
    [
        *VARIANTS.values(),
        tiny_config(),
        tiny_config(cab=False),
        tiny_config(qk_scale=0.5, shift=False),
    ],
)
def test_survives_json(config: HATConfig) -> None:
    assert HATConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_what_earlier_releases_do_not_know_is_written_only_where_it_matters() -> None:
    assert not {"qk_scale", "shift"} & tiny_config().to_dict().keys()
    values = tiny_config(qk_scale=0.5, shift=False).to_dict()
    assert (values["qk_scale"], values["shift"]) == (0.5, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 5},
        {"scale": "4"},
        {"scale": 32},
        {"scale": True},
        {"scale": 2.0},
        {"depths": (2000,) * 6},
        {"depths": 6},
        {"depths": ((6,),) * 6},
        {"num_heads": "666666"},
        {"window_size": 65},
        {"overlap_size": 130},
        {"embed_dim": 10**400},
        {"embed_dim": True},
        {"mlp_channels": 65_537},
        {"qkv_bias": 1},
        {"conv_scale": "much"},
        {"conv_scale": 10**400},
        {"img_range": None},
        {"depths": ()},
        {"depths": (6,) * 5},
        {"depths": (0,) * 6},
        {"num_heads": (0,) * 6},
        {"num_heads": (7,) * 6},
        {"embed_dim": 0},
        {"embed_dim": 180.0},
        {"embed_dim": "180"},
        {"window_size": 0},
        {"overlap_size": 8},
        {"overlap_size": 23},
        {"cab_channels": 0},
        {"cab_channels": -1},
        {"conv_scale": float("nan")},
        {"img_range": 0.0},
        {"qk_scale": 0.0},
        {"qk_scale": float("nan")},
        {"shift": 0},
        {"img_range": float("inf")},
        {"no_such_field": 1},
    ],
    ids=str,
)
def test_what_cannot_be_a_hat_is_refused(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        HATConfig.from_dict(VARIANTS["HAT"].to_dict() | wrong)


def test_a_config_without_scale_is_incomplete() -> None:
    with pytest.raises(ValueError, match="scale"):
        HATConfig.from_dict({})


def test_needs_no_torch() -> None:
    code = "import sys, hat_deploy.networks.hat.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
