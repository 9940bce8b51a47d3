"""The shipped model: whole, what its card says, and better than interpolation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from independent import independent_hat
from onnx import numpy_helper
from sklearn.datasets import load_sample_image
from tiny import picture

from hat_deploy import Upscaler, artifact
from hat_deploy.artifact import zoo
from hat_deploy.export.to_onnx import ExportOptions, export_onnx
from hat_deploy.files import sha256
from hat_deploy.images import decode
from hat_deploy.images.resize import bicubic, round_to_uint8
from hat_deploy.metrics import psnr_y
from hat_deploy.networks import shape_of
from hat_deploy.networks.checkpoint import load_network

ROOT = Path(__file__).parents[2]
MODEL = zoo.find(zoo.DEFAULT)


def test_every_shipped_model_is_complete() -> None:
    for model in zoo.shipped():
        described = artifact.describe(model.onnx)
        assert described.model == model.name
        assert shape_of(described.config) == shape_of(model.config)
        assert described.checkpoint_sha256 == sha256(model.checkpoint)
        assert len(model.summary) > 40


def test_it_is_a_true_hat_of_under_a_million_parameters() -> None:
    network = load_network(MODEL.checkpoint)
    assert (network.config.window_size, network.config.scale) == (16, 2)
    assert network.config.overlap_size and network.config.squeeze_channels
    assert network.config.conv_scale == 0.01
    assert sum(p.numel() for p in network.parameters()) < 1_000_000


def test_the_authors_code_loads_it_strictly_and_computes_the_same() -> None:
    """By another implementation, which insists on the index buffers too."""
    stored = safetensors.torch.load_file(MODEL.checkpoint)
    other = independent_hat(stored)
    x = picture(32, 48)
    with torch.no_grad():
        assert (load_network(MODEL.checkpoint)(x) - other(x)).abs().max() <= 1e-5


@pytest.mark.slow
def test_the_shipped_onnx_file_is_what_export_makes(tmp_path: Path) -> None:
    network = load_network(MODEL.checkpoint)
    described = artifact.describe(MODEL.onnx)
    report = export_onnx(
        network,
        tmp_path / "again.onnx",
        ExportOptions(tile=described.tile, any_size=True),
        model=MODEL.name,
        checkpoint_sha256=sha256(MODEL.checkpoint),
    )
    shipped, again = onnx.load(MODEL.onnx).graph, onnx.load(report.path).graph
    assert [n.op_type for n in shipped.node] == [n.op_type for n in again.node]
    assert len(shipped.initializer) == len(again.initializer)
    for ours, theirs in zip(shipped.initializer, again.initializer, strict=True):
        assert np.array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gain"), [("china", 0.6), ("flower", 1.9)])
def test_it_beats_bicubic_on_pictures_it_never_saw(name: str, gain: float) -> None:
    original = load_sample_image(f"{name}.jpg")
    height, width = (length // 2 * 2 for length in original.shape[:2])
    original = original[:height, :width]
    small = round_to_uint8(bicubic(original, height // 2, width // 2))
    assert np.array_equal(decode(ROOT / "examples" / f"{name}.png").pixels, small)
    simple = psnr_y(round_to_uint8(bicubic(small, height, width)), original, border=2)
    with Upscaler() as upscaler:
        ours = psnr_y(upscaler.upscale(small), original, border=2)
    assert ours - simple >= gain
    card = (MODEL.folder / "README.md").read_text()
    row = re.search(rf"\| {name} \| ([\d.]+) \| ([\d.]+) \|", card)
    assert row and [float(row[1]), float(row[2])] == pytest.approx([simple, ours], abs=0.02)


@pytest.mark.slowest
def test_the_demonstration_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py", "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "proof:" in done.stdout
    written = {path.name for path in tmp_path.iterdir()}
    assert {"china-x2.png", "flower-before-after.png", "hat-nano-x2.onnx"} <= written
