"""Images smaller than the tile: as the whole image, where the artifact runs at any size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from commands import Run, runner

from hat_deploy import Upscaler, artifact, images
from hat_deploy.artifact import METADATA_KEY, Artifact
from hat_deploy.engines import BACKENDS, base, open_artifact, openvino_models
from hat_deploy.engines.base import Array, sized
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.evaluate import evaluate
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.folders import Options, auto_tile, job_list
from hat_deploy.networks.hat.network import HAT
from hat_deploy.tiles import enlarger

Exported = Callable[..., ExportReport]
TILE = (24, 16)
SMALL = [(4, 4), (1, 7), (4, 16), (24, 4), (9, 13), (24, 16)]
"""With windows of 4: one window, one row of windows, and up to the tile."""


@pytest.fixture(scope="module")
def any_onnx(shallow_network: HAT, exported: Exported) -> Path:
    return exported(shallow_network, tile=TILE, any_size=True).path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)


def reference(network: HAT, pixels: Array) -> Array:
    """The whole image at once, rounded as results are."""
    scaled = (pixels / np.float32(65535)).astype(np.float32).transpose(2, 0, 1)[None]
    with torch.inference_mode():
        value = network(torch.from_numpy(np.ascontiguousarray(scaled)))[0].numpy()
    return np.rint(np.clip(value, 0, 1).transpose(1, 2, 0) * 65535).astype(np.int64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_small_image_is_the_whole_image(
    any_onnx: Path, shallow_network: HAT, backend: str
) -> None:
    with Upscaler(any_onnx, backend=backend) as upscaler:
        for size in SMALL:
            pixels = noise(*size, 3)
            found = upscaler.upscale(pixels)
            assert np.abs(found - reference(shallow_network, pixels)).max() <= 1, size
        large = noise(50, 30, 3)
        assert (
            np.abs(upscaler.upscale(large, whole=True) - reference(shallow_network, large)).max()
            <= 1
        )


def test_a_long_image_is_not_padded_across(any_onnx: Path) -> None:
    with Upscaler(any_onnx) as upscaler:
        work = upscaler.enlargement(noise(5, 100, 3))
        assert work.engine.input.size == (8, 16)
        assert not work.padded


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The input shapes of the models that OpenVINO compiles; None for one of any size."""
    shapes: list[object] = []
    load = openvino_models._load

    def count(path: Path, digest: str, settings: dict[str, Any], shape: Any) -> object:
        shapes.append(shape)
        return load(path, digest, settings, shape)

    monkeypatch.setattr(openvino_models, "_load", count)
    return shapes


def test_small_sizes_share_one_model(any_onnx: Path, compiled: list[object]) -> None:
    with Upscaler(any_onnx, backend="openvino", self_test=False) as upscaler:
        for height in range(1, 21):
            for width in range(1, 13):
                upscaler.enlargement(noise(height, width, 3))
        upscaler.upscale(noise(20, 12, 3))
        assert len(upscaler._fitting) == 5 * 3
    assert compiled == [(1, 3, 24, 16), None]


def test_sizes_that_are_worth_it_get_models_of_their_own(
    any_onnx: Path, shallow_network: HAT, compiled: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MANY", 2 * 16 * 12)
    with Upscaler(any_onnx, halo=2, backend="openvino", self_test=False) as upscaler:
        long = noise(24, 20, 3)  # two equal tiles, 24x12
        found = upscaler.upscale(long)
        plain = Upscaler(any_onnx, halo=2, backend="onnxruntime").upscale(long)
        assert np.abs(found.astype(int) - plain).max() <= 1
        assert compiled == [(1, 3, 24, 16), (1, 3, 24, 12)]
        upscaler.upscale(noise(24, 12, 3))  # one tile: not worth it
        for height in (20, 16):
            upscaler.upscale(noise(height, 20, 3))
        assert compiled[2:] == [None, (1, 3, 20, 12), (1, 3, 16, 12)]
        upscaler.upscale(noise(20, 20, 3))  # still there
        upscaler.upscale(long)  # forgotten since, and found in the cache
        assert compiled[5:] == [(1, 3, 24, 12)]


def test_an_artifact_of_one_size_says_how_many_it_padded(
    tiny_onnx: Path, tmp_path: Path, run: Run
) -> None:
    for name, size in (("a", (10, 30)), ("b", (24, 16)), ("c", (30, 30))):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = (noise(*size, 3) >> 8).astype(np.uint8)
        images.write(images.Picture(pixels=pixels), path)
    ended = run("upscale", tmp_path / "in", "--engine", tiny_onnx, "-o", tmp_path / "out")
    assert ended.code == 0
    assert "1 of 3 were smaller than the artifact's tile" in ended.err


def test_another_tile_needs_no_other_file(any_onnx: Path, shallow_network: HAT) -> None:
    pixels = noise(12, 20, 3)
    with Upscaler(any_onnx, tile=(12, 20)) as upscaler:
        assert upscaler.engine.input.size == (12, 20)
        assert np.abs(upscaler.upscale(pixels) - reference(shallow_network, pixels)).max() <= 1
        assert upscaler.settings["tile"] == [12, 20]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fixed_graph_that_claims_to_be_open_is_found_out(
    tiny_onnx: Path, tmp_path: Path, backend: str
) -> None:
    model = onnx.load(tiny_onnx)
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    entry.value = json.dumps(json.loads(entry.value) | {"any_size": True})
    path = tmp_path / "lies.onnx"
    onnx.save(model, path)
    with open_artifact(path, backend=backend) as engine, pytest.raises(ArtifactError):
        other = sized(engine, (8, 8))
        other.run(np.zeros(other.input.shape, np.float32))


def test_a_description_of_any_size_survives(any_onnx: Path) -> None:
    described = artifact.describe(any_onnx)
    assert described.any_size
    with pytest.raises(UsageError, match="leave --exact out"):
        Upscaler(any_onnx, exact=True)
    assert Artifact(any_onnx, (8, 8)).description == replace(described, tile=(8, 8), halo=2)
    text = described.to_json().replace('"any_size":true', '"any_size":3')
    with pytest.raises(ArtifactError, match="expected true or false"):
        artifact.Description.from_json(text, any_onnx)


def test_the_reference_runs_at_any_size(shallow_network: HAT) -> None:
    engine = TorchEngine(shallow_network, tile=TILE)
    small = sized(engine, (4, 8))
    assert small.run(np.zeros((1, 3, 4, 8), np.float32)).shape == small.output.shape


def test_scores_are_of_whole_images(
    any_onnx: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("large", (90, 70)), ("small", (40, 26))):
        pixels = (noise(*size, 3) >> 8).astype(np.uint8)
        images.write(images.Picture(pixels=pixels), tmp_path / f"{name}.png")
    with Upscaler(any_onnx) as upscaler:
        whole = evaluate(upscaler, tmp_path)
        tiled = evaluate(upscaler, tmp_path, whole=False)
    assert (whole.computed, whole.tiled) == ("whole images", ())
    assert tiled.tiled == ("large.png",)
    assert "whole images, but 1 of 2 in tiles of 24x16" in tiled.computed
    assert whole.scores != tiled.scores
    monkeypatch.setattr(enlarger, "available_memory", lambda: 0)
    with Upscaler(any_onnx) as upscaler:
        assert evaluate(upscaler, tmp_path).tiled == ("large.png",)
    with Upscaler(tiny_onnx) as upscaler:
        assert evaluate(upscaler, tmp_path).tiled == ("large.png", "small.png")


def test_verify_says_what_padding_did(
    any_onnx: Path, shallow_network: HAT, shallow_checkpoint: Path, exported: Exported,
    tmp_path: Path, run: Run,
) -> None:  # fmt: skip
    path = tmp_path / "a.png"
    images.write(images.Picture(pixels=(noise(10, 10, 3) >> 8).astype(np.uint8)), path)
    fixed = exported(shallow_network, tile=TILE).path
    padded = run("verify --reference", shallow_checkpoint, "--engine", fixed, path)
    assert "padded up to 24x16 (height x width); that alone moves it to" in padded.out
    exact = run("verify --json --reference", shallow_checkpoint, "--engine", any_onnx, path)
    (found,) = json.loads(exact.out)["pictures"]
    assert found["padded_to"] is None
    assert found["tiling"]["max_abs"] == 0
    assert exact.code == 0


def test_auto_chooses_for_an_artifact_of_any_size(any_onnx: Path, tmp_path: Path) -> None:
    images.write(images.Picture(pixels=np.zeros((100, 200, 3), np.uint8)), tmp_path / "a.png")
    jobs = job_list.list_jobs([tmp_path], mark="-x2", output=None, recursive=False).jobs
    tile, batch, _ = auto_tile.choose_tile(jobs, str(any_onnx), Options(), gpu=False)
    assert (tile, batch) == ((100, 200), 1)


def test_a_tile_that_does_not_fit_is_refused_before_the_export(shallow_checkpoint: Path) -> None:
    stages: list[str] = []
    with pytest.raises(UsageError, match="tile side 10 is not a multiple"):
        Upscaler(shallow_checkpoint, tile=(10, 12), on_stage=stages.append)
    assert stages == []
