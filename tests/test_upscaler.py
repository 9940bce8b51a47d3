from __future__ import annotations

import threading
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from fakes import IdentityEngine
from networks import random_network, tiny_config

import hat_deploy
from hat_deploy import Upscaler, cache
from hat_deploy.errors import ArtifactError, CheckpointError, UsageError
from hat_deploy.hat.checkpoint import save_checkpoint


def enlarged(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 3), (9, 13, 4), (1, 1), (1, 1, 3), (1, 1, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture_keeps_its_kind(
    shape: tuple[int, ...], dtype: type, channels: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    with Upscaler(IdentityEngine(channels=channels)) as upscaler:
        assert np.array_equal(upscaler.upscale(pixels), enlarged(pixels))


def test_constant_alpha_costs_no_tiles() -> None:
    engine = IdentityEngine()
    pixels = np.full((8, 8, 4), 255, np.uint8)
    assert np.array_equal(Upscaler(engine).upscale(pixels), enlarged(pixels))
    assert engine.calls == 1


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4), np.float32), np.zeros(4, np.uint8)]
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pixels are"):
        Upscaler(IdentityEngine()).upscale(pixels)


def test_an_artifact_is_all_it_takes(tiny_onnx: Path) -> None:
    with Upscaler(tiny_onnx, halo=4) as upscaler:
        assert (upscaler.scale, upscaler.halo) == (2, 4)
        assert upscaler.upscale(np.zeros((30, 50, 3), np.uint8)).shape == (60, 100, 3)


def test_the_halo_comes_from_the_artifact(tiny_onnx: Path) -> None:
    assert Upscaler(str(tiny_onnx)).halo == 4


def test_a_halo_that_does_not_fit_is_refused_before_any_picture(tiny_onnx: Path) -> None:
    with pytest.raises(UsageError, match="halo 3"):
        Upscaler(tiny_onnx, halo=3)


def test_another_tile_than_the_artifacts_is_a_usage_error(tiny_onnx: Path) -> None:
    assert Upscaler(tiny_onnx, tile=(24, 16))
    with pytest.raises(UsageError, match="built for tiles of 24x16"):
        Upscaler(tiny_onnx, tile=(32, 32))


def test_what_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        Upscaler(tmp_path / "none.pth")
    with pytest.raises(UsageError, match="neither a file nor a model"):
        Upscaler("no-such-model")
    with pytest.raises(ArtifactError, match="is not a file"):
        Upscaler(tmp_path / "none.onnx")


def test_a_checkpoint_is_exported_once(tiny_checkpoint: Path) -> None:
    stages: list[str] = []
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    first = Upscaler(tiny_checkpoint, tile=(16, 16), on_stage=stages.append).upscale(pixels)
    assert stages
    (entry,) = cache.cache_folder().iterdir()
    made = entry.stat().st_mtime_ns
    stages.clear()
    assert np.array_equal(Upscaler(tiny_checkpoint, tile=(16, 16)).upscale(pixels), first)
    assert not stages
    assert entry.stat().st_mtime_ns == made


def test_other_weights_and_other_tiles_are_other_entries(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    other = tmp_path / "tiny.pth"
    save_checkpoint(random_network(tiny_config(), seed=1), other)
    Upscaler(tiny_checkpoint, tile=(8, 8))
    Upscaler(other, tile=(8, 8))
    Upscaler(other, tile=(8, 16))
    assert len(list(cache.cache_folder().iterdir())) == 3


def test_a_checkpoint_that_is_none_is_said(tmp_path: Path) -> None:
    page = tmp_path / "hat.pth"
    page.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(CheckpointError, match="HTML"):
        Upscaler(page)


class TestCache:
    KEY = MappingProxyType({"from": "x"})

    def make(self, path: Path) -> None:
        path.write_bytes(b"content")

    def test_a_damaged_entry_is_made_again(self) -> None:
        entry = cache.fetch(self.KEY, ".onnx", self.make)
        entry.write_bytes(b"cont")
        assert cache.fetch(self.KEY, ".onnx", self.make).read_bytes() == b"content"
        assert len(list(cache.cache_folder().iterdir())) == 1

    def test_a_failed_one_leaves_nothing(self) -> None:
        def fail(path: Path) -> None:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.fetch(self.KEY, ".onnx", fail)
        assert list(cache.cache_folder().iterdir()) == []

    def test_several_at_once_all_get_a_whole_entry(self) -> None:
        barrier = threading.Barrier(4)
        found: list[bytes] = []

        def slow(path: Path) -> None:
            barrier.wait(10)
            self.make(path)

        def fetch() -> None:
            found.append(cache.fetch(self.KEY, ".onnx", slow).read_bytes())

        threads = [threading.Thread(target=fetch) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [b"content"] * 4
        assert len(list(cache.cache_folder().iterdir())) == 1

    def test_an_unwritable_folder_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "file" / "below"))
        with pytest.raises(UsageError, match="HAT_DEPLOY_CACHE"):
            cache.fetch(self.KEY, ".onnx", self.make)


def test_the_public_api() -> None:
    assert hat_deploy.__all__ == ["Upscaler", "__version__"]
    with pytest.raises(AttributeError):
        hat_deploy.nothing  # noqa: B018
