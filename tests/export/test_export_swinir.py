"""SwinIR through the same path as HAT: export, proof, layers, constants, plan, images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import runner
from tiny import random_swinir, tiny_swinir

from hat_deploy import images
from hat_deploy.artifact import describe
from hat_deploy.export import to_plan
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.export.to_plan import BuildOptions
from hat_deploy.images.samples import noise
from hat_deploy.networks import shape_of
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.ranges import measure
from hat_deploy.verify import layers, weights

Exported = Callable[..., ExportReport]
FORMS = {
    "real world, large": tiny_swinir("nearest+conv", 4, closing="3conv"),
    "classical": tiny_swinir("pixelshuffle", 2),
    "lightweight": tiny_swinir("pixelshuffledirect", 3),
    "JPEG, gray": tiny_swinir("none", 1, in_channels=1, window_size=7, img_range=255.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FORMS)
def test_it_exports_and_no_block_or_constant_differs(
    name: str, precision: str, exported: Exported
) -> None:
    config = FORMS[name]
    network = random_swinir(config)
    tile = (4 * config.window, 3 * config.window)
    report = exported(network, tile=tile, precision=precision)
    described = describe(report.path)
    assert shape_of(described.config) == config
    assert described.config["architecture"] == "SwinIR"
    (sample,) = noise(1, tile, config.channels)
    found = layers.compare_blocks(report.path, network, sample)
    assert [block.block for block in found.blocks] == [
        *(point.name for point in config.points()),
        "output",
    ]
    assert found.offender is None
    assert weights.foreign(report.path, network.in_precision(precision)) == []


def test_ranges_name_its_blocks() -> None:
    network = random_swinir(FORMS["real world, large"])
    peaks = measure(network, [torch.rand(1, 3, 12, 8)])
    assert [peak.kind for peak in peaks] == ["STL", "STL", "RSTB"] * 2 + ["SwinIR"]
    assert all(peak.scores > 0 for peak in peaks if peak.kind == "STL")


@pytest.mark.slow
def test_every_attention_of_a_plan_is_fused(tmp_path: Path, exported: Exported) -> None:
    config = tiny_swinir("none", 1, embed_dim=32, window_size=8, mlp_channels=64)
    network = random_swinir(config)
    source = exported(network, tile=(32, 24), precision="fp16", made_for="tensorrt").path
    made = to_plan.build(source, tmp_path / "x.plan", BuildOptions(gpus=("sm89",), flavour="rtx"))
    assert made.programs is not None
    (program,) = made.programs
    assert program.fused_attentions == sum(config.depths)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_a_denoiser_goes_through_upscale(
    tmp_path: Path,
    channels: int,
    shared_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = random_swinir(tiny_swinir("none", 1, in_channels=channels))
    save_checkpoint(network, tmp_path / "dn.pth")
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    images.write(images.Picture(pixels=image), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    run = runner(monkeypatch, capsys)
    assert run("upscale", tmp_path / "a.png", "--model", tmp_path / "dn.pth").code == 0
    assert (tmp_path / "a.png").read_bytes() == before
    assert images.decode(tmp_path / "a-x1.png").pixels.shape == image.shape
