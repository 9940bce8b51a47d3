"""Doubts about what a checkpoint does not store, and who hears of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import random_network, tiny_config

from hat_deploy import cli, images
from hat_deploy.artifact import zoo
from hat_deploy.artifact.resolve import resolve
from hat_deploy.export import misfit, on_demand
from hat_deploy.networks.checkpoint import load_network, save_checkpoint
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.unstored import Unstored


def repeating() -> HAT:
    """Repeats every pixel, as long as the input's range is what its LeakyReLU was made for."""
    network = random_network(tiny_config(depths=(1,)))
    with torch.no_grad():
        for layer in (
            network.conv_first,
            network.conv_after_body,
            network.conv_before_upsample[0],
            network.upsample[0],
            network.conv_last,
        ):
            layer.weight.zero_()
            layer.bias.zero_()
        for channel in range(3):
            network.conv_first.weight[channel, channel, 1, 1] = 1
            network.conv_before_upsample[0].weight[channel, channel, 1, 1] = 1
            network.conv_before_upsample[0].bias[channel] = 0.5
            network.upsample[0].weight[4 * channel : 4 * channel + 4, channel, 1, 1] = 1
            network.conv_last.weight[channel, channel, 1, 1] = 1
            network.conv_last.bias[channel] = -0.5
    return network.freeze()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "repeating.pth"
    save_checkpoint(repeating(), path)
    return path


def test_the_shipped_model_is_doubted_only_where_it_is_told_otherwise() -> None:
    path = zoo.find(zoo.DEFAULT).checkpoint
    assert misfit.doubt(load_network(path)) is None
    said = misfit.doubt(load_network(path, conv_scale=1.0))
    assert said is not None
    assert "with --conv-scale 0.01 by 0.004" in said
    of_255 = load_network(path)
    with torch.no_grad():  # the same function, of an input of 0 to 255
        of_255.conv_first.weight /= 255
        of_255.conv_last.weight *= 255
        of_255.conv_last.bias *= 255
    assert "with --img-range 255 by 0.004" in (misfit.doubt(of_255) or "")


def test_a_network_is_left_as_it_is() -> None:
    network = random_network(tiny_config(conv_scale=0.5, img_range=2.0))
    before = network.config
    misfit.doubt(network)
    assert network.config is before
    assert {m.conv_scale for m in network.modules() if hasattr(m, "conv_scale")} == {0.5}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("changes", [{}, {"in_channels": 1}, {"scale": 3}, {"cab": False}])
def test_random_weights_are_not_doubted(seed: int, changes: dict[str, object]) -> None:
    assert misfit.doubt(random_network(tiny_config(**changes), seed)) is None


def test_what_there_is_no_image_for_is_not_doubted() -> None:
    assert misfit.doubt(random_network(tiny_config(in_channels=4))) is None


def test_values_that_are_not_finite_are_no_fit() -> None:
    network = repeating()
    network.conv_last.bias.fill_(torch.nan)
    assert misfit.doubt(network) is None


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hat-deploy", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return int(raised.value.code or 0)


DOUBT = "with --img-range 1 by"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    images.write(images.Picture(pixels=np.full((16, 16, 3), 90, np.uint8)), path)
    return path


@pytest.mark.slow
def test_export_and_verify_say_it(
    checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = tmp_path / "x.onnx"
    export = ("export", checkpoint, "-o", made, "--tile", 16)
    assert exit_code(monkeypatch, *export, "--img-range", 255) == 0
    assert DOUBT in capsys.readouterr().err
    verify = ("verify", "--engine", made, "--reference", checkpoint, "--img-range", 255, photo)
    assert exit_code(monkeypatch, *verify) == 0
    assert DOUBT in capsys.readouterr().out
    assert exit_code(monkeypatch, "upscale", photo, "--engine", made, "--qk-scale", 1) == 2
    assert "--qk-scale does not apply" in capsys.readouterr().err


@pytest.mark.slow
def test_upscale_says_it(
    checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    large = tmp_path / "large"
    upscale = ("upscale", photo, "-o", large, "--model", checkpoint, "--tile", 16)
    assert exit_code(monkeypatch, *upscale, "--img-range", 255) == 0
    assert DOUBT in capsys.readouterr().err
    wrong = images.decode(large / "photo.png").pixels
    assert exit_code(monkeypatch, *upscale) == 0
    assert "warning" not in capsys.readouterr().err
    right = images.decode(large / "photo.png").pixels
    assert (right == 90).all()
    assert not (wrong == right).any()


@pytest.mark.slow
def test_evaluate_and_python_take_what_is_not_stored(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    images.write(images.Picture(pixels=photo), tmp_path / "photo.png")
    evaluate = ("evaluate", "--hr", tmp_path, "--model", checkpoint, "--tile", 16)
    assert exit_code(monkeypatch, *evaluate, "--no-shift", "--qk-scale", 0.5) == 0
    wanted = on_demand.Wanted(tile=(16, 16), unstored=Unstored(img_range=255.0))
    with pytest.warns(UserWarning, match=DOUBT):
        on_demand.artifact_for(resolve(checkpoint), wanted)
