"""Tiles that equal the whole image: averages collected in one pass and used in the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import random_network, tiny_config

from hat_deploy import Upscaler
from hat_deploy.artifact import METADATA_KEY, Artifact, Description, describe
from hat_deploy.engines import BACKENDS, open_artifact
from hat_deploy.engines.averages import exact
from hat_deploy.engines.base import Array, Engine
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import ArtifactError, CheckFailed, UsageError
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.geometry import counted, grid
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.unstored import Unstored
from hat_deploy.tiles.averages import Averages
from hat_deploy.tiles.enlarger import _WITHOUT_EFFECT, _identity

Exported = Callable[..., ExportReport]
TILE, HALO = (48, 48), 20
"""A halo as wide as the receptive field of two blocks."""
SIZE = (70, 61)


@pytest.fixture(scope="module")
def network() -> HAT:
    """Two blocks whose channel attention weighs as much as the rest."""
    return random_network(tiny_config(depths=(2,), conv_scale=4.0))


@pytest.fixture(scope="module")
def artifact(network: HAT, exported: Exported) -> Path:
    return exported(network, tile=TILE, batch=2, halo=HALO, exact=True).path


@pytest.fixture(scope="module")
def bytes_artifact(network: HAT, exported: Exported) -> Path:
    return exported(network, tile=TILE, halo=HALO, io="uint8", exact=True).path


def pixels(*shape: int, dtype: type = np.uint8) -> Array:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    noise[: shape[0] // 2] //= 4  # the halves of the image differ, and so do averages
    return noise


def whole(network: HAT, image: Array) -> Array:
    """What the network makes of the image at once."""
    top = np.iinfo(image.dtype).max
    x = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(top))
    with torch.inference_mode():
        y = network(x)[0].clamp(0, 1).numpy()
    return np.rint(y * top).transpose(1, 2, 0).astype(image.dtype)


@pytest.fixture(params=["openvino", "onnxruntime", "bytes", "torch"])
def engine(
    request: pytest.FixtureRequest, network: HAT, artifact: Path, bytes_artifact: Path
) -> Engine:
    """Closed by the upscaler that runs it."""
    if request.param == "torch":
        made: Engine = TorchEngine(network, tile=TILE, exact=True)
    elif request.param == "bytes":
        made = open_artifact(bytes_artifact, threads=1)
    else:
        made = open_artifact(artifact, backend=request.param, threads=1)
    return made


def test_every_engine_gives_the_whole_image(engine: Engine, network: HAT) -> None:
    image = pixels(*SIZE, 3)
    expected = whole(network, image).astype(int)
    plain = Upscaler(TorchEngine(network, tile=TILE), halo=HALO).upscale(image)
    with Upscaler(engine, halo=HALO, passes=4) as upscaler:
        found = upscaler.upscale(image)
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found != expected) < 1e-3
    assert np.mean(plain != expected) > 1e-2  # with averages of its own each tile is off


def test_16_bits_gray_and_alpha_go_through_passes_of_their_own(
    network: HAT, artifact: Path
) -> None:
    deep = pixels(*SIZE, 4, dtype=np.uint16)
    gray = pixels(*SIZE)
    with Upscaler(artifact, passes=4, threads=1) as upscaler:
        found, flat = upscaler.upscale(deep), upscaler.upscale(gray)
        seen: list[tuple[int, int]] = []
        upscaler.upscale(gray, progress=lambda done, total: seen.append((done, total)))
    colours = whole(network, deep[..., :3]).astype(int)
    assert np.abs(found[..., :3] - colours).max() < 8  # of 65535
    from hat_deploy.images.picture import LUMA

    three = whole(network, np.repeat(gray[..., None], 3, 2))
    assert np.abs(flat - three @ LUMA).max() <= 1.5
    assert seen[-1][0] == seen[-1][1]
    assert seen[-1][0] > upscaler.tiles(*SIZE) // 4


def test_averages_that_stand_still_end_the_passes(artifact: Path) -> None:
    flat = np.full((*SIZE, 3), 100, np.uint8)
    flat[0, 0] = 101
    seen: list[tuple[int, int]] = []
    with Upscaler(artifact, passes=9, threads=1) as upscaler:
        upscaler.upscale(flat, progress=lambda *now: seen.append(now))
        most = upscaler.tiles(*SIZE)
    assert most == 9 * len(grid(SIZE, TILE, HALO, 4).tiles)
    done, total = seen[-1]
    assert most / 9 < done == total < most


def test_an_image_of_one_tile_takes_one_pass(artifact: Path, network: HAT) -> None:
    image = pixels(48, 45, 3)
    with Upscaler(artifact, threads=1) as upscaler:
        assert upscaler.tiles(48, 45) == 1
        seen: list[tuple[int, int]] = []
        found = upscaler.upscale(image, progress=lambda *now: seen.append(now))
    assert seen == [(1, 1)]
    assert np.abs(found - whole(network, image).astype(int)).max() <= 1


def test_images_share_batches_and_keep_their_averages(artifact: Path, tmp_path: Path) -> None:
    from hat_deploy import images

    sources = [pixels(*SIZE, 3), pixels(50, 90, 3)[::-1].copy()]
    (tmp_path / "in").mkdir()
    for number, image in enumerate(sources):
        (tmp_path / "in" / f"{number}.png").write_bytes(
            images.encode(images.Picture(pixels=image), ".png")
        )
    with Upscaler(artifact, threads=1) as upscaler:
        upscaler.upscale_folder(tmp_path / "in", tmp_path / "out")
        for number, image in enumerate(sources):
            found = images.decode(tmp_path / "out" / f"{number}.png").pixels
            assert np.array_equal(found, upscaler.upscale(image))


def test_counted_parts_cover_the_padded_image_once() -> None:
    layout = grid(SIZE, TILE, HALO, 4)
    marks = np.zeros((72, 64), int)
    for tile in layout.tiles:
        rows = counted(tile.rows, SIZE[0], 4)
        columns = counted(tile.columns, SIZE[1], 4)
        top, left = tile.rows.start, tile.columns.start
        marks[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop] += 1
    assert (marks == 1).all()


def test_averages_that_are_not_finite_fail_the_image(network: HAT) -> None:
    with TorchEngine(network, tile=TILE, exact=True) as engine:
        layout = grid(SIZE, TILE, HALO, 4)
        averages = Averages(SIZE, layout, engine, 2)
        with pytest.raises(CheckFailed, match="averages that are not finite"):
            averages.add(layout.tiles[0], np.full((2, 12, 1), np.nan, np.float32))


def test_a_plain_run_takes_averages_of_its_own(artifact: Path, network: HAT) -> None:
    with open_artifact(artifact, threads=1) as engine:
        batch = np.random.default_rng(0).random(engine.input.shape, np.float32)
        assert exact(engine) is not None
        with torch.inference_mode():
            expected = network(torch.from_numpy(batch)).numpy()
        assert np.abs(engine.run(batch) - expected).max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_artifact_without_averages_takes_no_passes(tiny_onnx: Path, backend: str) -> None:
    with pytest.raises(UsageError, match="leave passes out"):
        Upscaler(tiny_onnx, passes=2, backend=backend)
    with pytest.raises(UsageError, match="leave --exact out"):
        Upscaler(tiny_onnx, exact=True, backend=backend)


def test_an_engine_of_any_kind_has_the_halo_of_exact_tiles(network: HAT) -> None:
    for taking, halo in ((True, 8), (False, 4)):
        with Upscaler(TorchEngine(network, tile=(40, 40), exact=taking)) as upscaler:
            assert upscaler.halo == halo


def test_an_exact_artifact_of_any_size_has_an_exact_halo_in_another_tile(
    artifact: Path, tmp_path: Path
) -> None:
    model = onnx.load(artifact)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = replace(describe(artifact), any_size=True).to_json()
    onnx.save(model, tmp_path / "any.onnx")
    assert Artifact(tmp_path / "any.onnx", (48, 40)).description.halo == 8


def test_one_pass_is_refused(artifact: Path) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Upscaler(artifact, passes=1)


def test_a_network_without_channel_attention_is_refused(exported: Exported) -> None:
    plain = random_network(tiny_config(depths=(1,), channel_attention=False))
    with pytest.raises(UsageError, match="no channel attention"):
        exported(plain, tile=(16, 16), exact=True)


@pytest.mark.slow
def test_a_checkpoint_is_exported_for_it_and_verified(network: HAT, tmp_path: Path) -> None:
    from hat_deploy import images
    from hat_deploy.artifact.resolve import resolve
    from hat_deploy.export import on_demand
    from hat_deploy.verify.verification import VerifyOptions, verify

    checkpoint, photo = tmp_path / "tiny.pth", tmp_path / "photo.png"
    save_checkpoint(network, checkpoint)
    photo.write_bytes(images.encode(images.Picture(pixels=pixels(*SIZE, 3)), ".png"))
    with Upscaler(checkpoint, tile=TILE, exact=True, conv_scale=4.0, threads=1) as upscaler:
        assert (upscaler.halo, upscaler.passes) == (8, 2)
        assert upscaler.settings["passes"] == 2
    wanted = on_demand.Wanted(tile=TILE, exact=True, unstored=Unstored(conv_scale=4.0))
    made = on_demand.artifact_for(resolve(checkpoint), wanted)  # from the cache
    assert made.description.averages == (2, 12)
    tiling = {}
    for halo, passes in ((HALO, 2), (HALO, 5), (8, 5)):
        options = VerifyOptions(halo=halo, passes=passes, conv_scale=4.0, layers=passes == 2)
        report = verify(made, checkpoint, [photo], options)
        assert report.passed
        (found,) = report.pictures
        assert found.tiling is not None
        tiling[halo, passes] = found.tiling.psnr
    assert tiling[HALO, 5] > 120 > tiling[8, 5]
    assert tiling[HALO, 5] > tiling[HALO, 2] > 70
    assert report.foreign_constants == ()


def test_verify_refuses_passes_where_there_is_one(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    from hat_deploy.verify.verification import VerifyOptions, verify

    with pytest.raises(UsageError, match="leave passes out"):
        verify(tiny_onnx, tiny_checkpoint, [], VerifyOptions(passes=2))


@pytest.mark.parametrize("averages", ["[1]", "[0, 12]", "true", '["2", 12]', "[2, 12, 1]"])
def test_damaged_averages_are_refused(artifact: Path, averages: str) -> None:
    text = describe(artifact).to_json().replace("[2,12]", averages)
    with pytest.raises(ArtifactError, match="averages is"):
        Description.from_json(text, artifact)


def test_journals_of_plain_artifacts_know_nothing_of_averages(
    tiny_onnx: Path, artifact: Path
) -> None:
    """What was made by earlier releases is not made again."""
    plain = describe(tiny_onnx)
    added = ("averages", "any_size", "made_for")
    older = {k: v for k, v in asdict(plain).items() if k not in (*_WITHOUT_EFFECT, *added)}
    text = json.dumps(older, sort_keys=True)
    assert _identity(plain) == hashlib.sha256(text.encode()).hexdigest()
    assert _identity(plain) != _identity(replace(plain, averages=(2, 12)))
