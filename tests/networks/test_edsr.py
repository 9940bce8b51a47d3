"""EDSR against an independent definition, in its authors' key layout; and SRCNN, refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import runner
from PIL import Image
from tiny import picture, randomise, save_tensors
from torch import Tensor

from hat_deploy import networks
from hat_deploy.errors import CheckpointError
from hat_deploy.networks.checkpoint import (
    build,
    detect_config,
    load_network,
    load_state_dict,
    save_checkpoint,
)
from hat_deploy.networks.edsr.config import EDSRConfig
from hat_deploy.networks.edsr.network import EDSR

MEAN = torch.tensor([0.4488, 0.4371, 0.4040])


def authors_keys(scale: int, features: int = 8, blocks: int = 2) -> dict[str, Tensor]:
    """Random weights under the names that edsr-PyTorch saves."""
    stages = {1: [], 2: [4], 3: [9], 4: [4, 4], 8: [4, 4, 4]}[scale]
    shapes = {"head.0": (features, 3)}
    for number in range(blocks):
        shapes |= {f"body.{number}.body.{place}": (features, features) for place in (0, 2)}
    shapes[f"body.{blocks}"] = (features, features)
    for number, factor in enumerate(stages):
        shapes[f"tail.0.{2 * number}"] = (factor * features, features)
    shapes["tail.1"] = (3, features)
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, (rows, columns) in shapes.items():
        noise = torch.randn(rows, columns, 3, 3, generator=generator)
        weights[f"{name}.weight"] = 0.7 * noise / (9 * columns) ** 0.5
        weights[f"{name}.bias"] = 0.1 * torch.randn(rows, generator=generator)
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        weights[f"{name}.weight"] = torch.eye(3).reshape(3, 3, 1, 1)
        weights[f"{name}.bias"] = sign * 255 * MEAN
    return weights


def independent(weights: dict[str, Tensor], x: Tensor, res_scale: float) -> Tensor:
    """The paper's network, from images in 0 to 255 to such images."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    x = conv("head.0", conv("sub_mean", x))
    y, number = x, 0
    while f"body.{number}.body.0.weight" in weights:
        inner = F.relu(conv(f"body.{number}.body.0", y))
        y = y + conv(f"body.{number}.body.2", inner).mul(res_scale)
        number += 1
    y, stage = conv(f"body.{number}", y) + x, 0
    while f"tail.0.{stage}.weight" in weights:
        y = conv(f"tail.0.{stage}", y)
        y = F.pixel_shuffle(y, round((y.shape[1] / x.shape[1]) ** 0.5))
        stage += 2
    return conv("add_mean", conv("tail.1", y))


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_it_computes_what_its_paper_says(tmp_path: Path, scale: int, res_scale: float) -> None:
    weights = authors_keys(scale)
    network = load_network(save_tensors(weights, tmp_path / "x.pth"), conv_scale=res_scale)
    assert isinstance(network, EDSR)
    assert network.config.scale == scale
    x = picture(16, 32)
    with torch.inference_mode():
        expected = independent(weights, 255 * x, res_scale) / 255
        torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-5)


def test_it_is_read_off_weights_as_published() -> None:
    config = detect_config(authors_keys(4, features=256, blocks=1))
    assert config == EDSRConfig(scale=4, features=256, blocks=1, conv_scale=0.1, img_range=255)
    assert networks.shape_of(config.to_dict()) == config
    bare = {n: x for n, x in authors_keys(2).items() if "_mean" not in n}
    assert detect_config(bare) == EDSRConfig(scale=2, features=8, blocks=2)


def test_its_parameters_are_those_of_the_published_networks() -> None:
    published = {(2, 64, 16): 1_369_859, (4, 64, 16): 1_517_571, (4, 256, 32): 43_089_923}
    for (scale, features, blocks), expected in published.items():
        config = EDSRConfig(scale=scale, features=features, blocks=blocks)
        assert config.cost(32, 32).parameters == expected


def test_its_cost_is_that_of_its_convolutions() -> None:
    network, expected = build(EDSRConfig(scale=4, features=8, blocks=2)), 0

    def count(module: torch.nn.Conv2d, x: object, y: Tensor) -> None:
        nonlocal expected
        expected += module.weight.numel() * y.shape[-2] * y.shape[-1]

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(picture(16, 32))
    cost = network.config.cost(16, 32)
    assert cost.multi_adds == expected
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_any_size_is_padded_by_reflection_and_cropped() -> None:
    network = build(EDSRConfig(scale=2, features=8, blocks=1)).freeze()
    x = picture(13, 20)
    padded = torch.from_numpy(np.pad(x.numpy(), [(0, 0), (0, 0), (0, 3), (0, 12)], "reflect"))
    with torch.inference_mode():
        assert torch.equal(network(x), network(padded)[..., :26, :40])


def test_it_is_saved_under_the_authors_names(tmp_path: Path) -> None:
    network = build(EDSRConfig(scale=4, features=8, blocks=2, img_range=1))
    randomise(network)
    save_checkpoint(network, tmp_path / "x.pth")
    stored = load_state_dict(tmp_path / "x.pth")
    assert stored.keys() == authors_keys(4).keys()
    other = load_network(tmp_path / "x.pth")
    assert other.config == network.config
    with torch.inference_mode():
        assert torch.equal(other(picture(16, 16)), network.freeze()(picture(16, 16)))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    weights = authors_keys(2)
    path = save_tensors(weights, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="an EDSR has no qk_scale"):
        load_network(path, qk_scale=1.0)
    changed = weights | {"sub_mean.bias": torch.tensor([-100.0, -110.0, -90.0])}
    with pytest.raises(CheckpointError, match=r"no place for: .*_mean.bias"):
        load_network(save_tensors(changed, tmp_path / "changed.pth"))
    del weights["body.1.body.2.bias"]
    with pytest.raises(CheckpointError, match=r"lack 1 of the .* of this EDSR: body.1.body.2.bias"):
        load_network(save_tensors(weights, tmp_path / "short.pth"))


@pytest.mark.slow
def test_from_checkpoint_to_images_in_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = runner(monkeypatch, capsys)
    model, source, artifact = tmp_path / "m.pth", tmp_path / "a.png", tmp_path / "m.onnx"
    save_tensors(authors_keys(2), model)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(source)
    done = cli("export --precision fp16 --tile 48", model, "-o", artifact)
    assert done.code == 0, done.err
    assert cli("upscale --engine", artifact, source).code == 0
    assert Image.open(tmp_path / "a-x2.png").size == (100, 80)
    ended = cli("verify --engine", artifact, "--reference", model, source)
    assert ended.code == 0, ended.err
    assert "EDSR" in cli("info", artifact).out


@pytest.mark.parametrize("middle", [1, 5])
def test_an_srcnn_is_told_and_refused(middle: int) -> None:
    shapes = {"conv1": (64, 1, 9), "conv2": (32, 64, middle), "conv3": (1, 32, 5)}
    weights = {f"{n}.weight": torch.zeros(a, b, c, c) for n, (a, b, c) in shapes.items()}
    weights |= {f"{n}.bias": torch.zeros(a) for n, (a, _, _) in shapes.items()}
    with pytest.raises(CheckpointError, match="SRCNN, which enlarges nothing"):
        detect_config(weights)
