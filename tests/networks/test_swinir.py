"""SwinIR in all its published forms: shape, numbers, cost, half precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from independent import independent_swinir
from tiny import (
    FP16_MAX,
    amplified_swinir,
    peak,
    picture,
    random_swinir,
    run,
    save_tensors,
    tiny_swinir,
)
from torch.utils.flop_counter import FlopCounterMode

from hat_deploy.errors import CheckpointError
from hat_deploy.metrics import compare
from hat_deploy.networks import shape_of
from hat_deploy.networks.checkpoint import (
    build,
    detect_config,
    load_network,
    load_state_dict,
    save_checkpoint,
)
from hat_deploy.networks.deployed import Deployed
from hat_deploy.networks.swinir.config import SwinIRConfig
from hat_deploy.networks.swinir.network import SwinIR

FORMS = {
    **{f"classical x{s}": tiny_swinir("pixelshuffle", s) for s in (2, 3, 4, 8)},
    **{f"lightweight x{s}": tiny_swinir("pixelshuffledirect", s) for s in (2, 3, 4)},
    **{f"real world x{s}": tiny_swinir("nearest+conv", s) for s in (2, 4)},
    "real world, large": tiny_swinir("nearest+conv", 4, closing="3conv"),
    "denoising": tiny_swinir("none", 1),
    "denoising, gray": tiny_swinir("none", 1, in_channels=1),
    "JPEG": tiny_swinir("none", 1, window_size=7, img_range=255.0),
    "JPEG, gray": tiny_swinir("none", 1, in_channels=1, window_size=7, img_range=255.0),
}
MEDIUM = SwinIRConfig(scale=4)
SMALL = replace(
    MEDIUM,
    embed_dim=60,
    depths=(6,) * 4,
    num_heads=(6,) * 4,
    mlp_channels=120,
    upsampler="pixelshuffledirect",
    upsampler_channels=0,
)
LARGE = replace(
    MEDIUM,
    embed_dim=240,
    depths=(6,) * 9,
    num_heads=(8,) * 9,
    mlp_channels=480,
    upsampler="nearest+conv",
    closing="3conv",
)
PUBLISHED = {"SwinIR-M": MEDIUM, "SwinIR-S": SMALL, "SwinIR-L": LARGE}
BLOCK = "layers.0.residual_group.blocks.0."

forms = pytest.mark.parametrize("name", FORMS)


def worst(network: SwinIR, *sizes: tuple[int, int]) -> float:
    """Largest difference from the other implementation, as the network itself sees it."""
    config, other, found = network.config, independent_swinir(network), 0.0
    for height, width in sizes:
        x = picture(height, width, channels=config.in_channels)
        with torch.no_grad():
            ours, theirs = network(x), other(x)
        assert ours.shape == theirs.shape
        changed = theirs - x if config.scale == 1 else theirs
        assert changed.std() * config.img_range > 0.03
        found = max(found, (ours - theirs).abs().max().item())
    return found


@forms
def test_it_computes_what_another_implementation_does(name: str) -> None:
    window = FORMS[name].window
    sizes = (3 * window, 4 * window), (2 * window + 1, 3 * window - 2)
    assert worst(random_swinir(FORMS[name]), *sizes) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_so_do_the_published_sizes(name: str) -> None:
    assert PUBLISHED[name].variant == name
    assert worst(random_swinir(PUBLISHED[name]), (16, 24)) <= 1e-5


@pytest.mark.parametrize("name", [*FORMS, *PUBLISHED])
def test_the_shape_is_read_off_the_weights(name: str) -> None:
    config = (FORMS | PUBLISHED)[name]
    with torch.device("meta"):
        weights = SwinIR(config).state_dict()
    index = {BLOCK + "attn.relative_position_index": torch.zeros(1)}
    assert detect_config(weights | index) == config
    if config.upsampler != "pixelshuffle":  # without an index that is a HAT without CAB and OCAB
        assert detect_config(weights) == config
    assert shape_of(config.to_dict()) == config


@forms
def test_the_cost_is_what_the_network_does(name: str) -> None:
    config = FORMS[name]
    height, width = 2 * config.window, 3 * config.window
    with torch.device("meta"):
        network = SwinIR(config).eval()
        x = torch.empty(1, config.in_channels, height, width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    found = config.cost(height, width)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.multi_adds == counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["classical x3", "lightweight x4", "real world, large", "JPEG"])
def test_a_saved_network_comes_back(tmp_path: Path, name: str) -> None:
    network = random_swinir(FORMS[name])
    save_checkpoint(network, tmp_path / "w.pth")
    stored = load_state_dict(tmp_path / "w.pth")
    side = network.config.window**2
    assert stored["layers.0.residual_group.blocks.1.attn_mask"].shape == (64, side, side)
    assert stored[BLOCK + "attn.relative_position_index"].shape == (side, side)
    loaded = load_network(tmp_path / "w.pth")
    x = picture(9, 8, channels=network.config.in_channels)
    assert isinstance(loaded, SwinIR)
    assert (run(loaded, x) == run(network, x)).all()


def test_what_two_architectures_claim_is_refused(tmp_path: Path) -> None:
    network = random_swinir(FORMS["classical x2"])
    save_checkpoint(network, tmp_path / "w.pth")
    weights = load_state_dict(tmp_path / "w.pth")
    index = weights[BLOCK + "attn.relative_position_index"]
    path = save_tensors(weights | {"relative_position_index_SA": index}, tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match="those of a HAT and a SwinIR alike"):
        load_network(path)


def test_an_index_that_pairs_otherwise_is_refused(tmp_path: Path) -> None:
    save_checkpoint(random_swinir(FORMS["denoising"]), tmp_path / "w.pth")
    weights = load_state_dict(tmp_path / "w.pth")
    key = "layers.1.residual_group.blocks.1.attn.relative_position_index"
    path = save_tensors(weights | {key: weights[key].flip(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=key):
        load_network(path)


def test_it_has_no_conv_scale(tmp_path: Path) -> None:
    save_checkpoint(random_swinir(FORMS["denoising"]), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="a SwinIR has no conv_scale"):
        load_network(tmp_path / "w.pth", conv_scale=1.0)


def test_what_is_not_stored_is_told_in_place(tmp_path: Path) -> None:
    save_checkpoint(random_swinir(FORMS["JPEG"]), tmp_path / "w.pth")
    network, x = load_network(tmp_path / "w.pth"), picture(9, 8)
    other = load_network(tmp_path / "w.pth", img_range=1.0)
    assert (run(network, x) != run(other, x)).any()
    network.tell(img_range=1.0)
    assert network.config == other.config
    assert (run(network, x) == run(other, x)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsampler": "bicubic"}, "upsampler is 'bicubic'; a SwinIR has pixelshuffle"),
        ({"upsampler": "nearest+conv", "scale": 3}, "scale is 3; with nearest.conv"),
        ({"upsampler": "none", "scale": 1}, "upsampler_channels is 64; none has 0"),
        ({"upsampler_channels": 0}, "upsampler_channels is 0; pixelshuffle has some"),
        ({"closing": "2conv"}, "closing is '2conv'"),
        ({"closing": "3conv", "embed_dim": 2, "num_heads": (1, 1)}, "takes at least 4"),
        ({"window_size": 65}, "window_size is 65"),
    ],
)
def test_what_cannot_be_a_swinir_is_refused(changes: dict[str, object], message: str) -> None:
    values = tiny_swinir("pixelshuffle", 2, upsampler_channels=64).to_dict() | changes
    with pytest.raises(ValueError, match=message):
        shape_of(values)


@pytest.mark.parametrize("name", ["classical x2", "real world, large", "denoising", "JPEG"])
def test_a_stream_beyond_half_precision_is_lost_in_pure_half_and_kept_in_mixed(name: str) -> None:
    """Where a conversion of everything to half gives black images."""
    network = amplified_swinir(FORMS[name], 2.0**16)
    x = picture(3 * network.config.window, 16, channels=network.config.in_channels)
    expected = run(network, x)
    assert peak(network, x) > FP16_MAX
    for precision, floor in (("fp16", 60), ("bf16", 50)):
        found = run(Deployed(network.in_precision(precision), "float"), x)
        assert compare(expected, found).meets(floor)
    lost = run(Deployed(network.in_precision("fp16-pure"), "float"), x)
    assert compare(expected, lost).non_finite > 0


def test_it_is_built_from_a_description() -> None:
    assert isinstance(build(shape_of(FORMS["JPEG"].to_dict())), SwinIR)
    with pytest.raises(
        ValueError, match="architecture is 'IPT'; this release knows HAT, SwinIR and"
    ):
        shape_of({"architecture": "IPT"})
