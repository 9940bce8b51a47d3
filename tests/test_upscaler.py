from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine
from tiny import random_edsr

import hat_deploy
from hat_deploy import Upscaler, artifact, cache, engines, folders, images
from hat_deploy.artifact import Artifact
from hat_deploy.artifact.resolve import Checkpoint
from hat_deploy.errors import (
    ArtifactError,
    CheckFailed,
    CheckpointError,
    MissingExtraError,
    PictureError,
    UsageError,
)
from hat_deploy.export import on_demand
from hat_deploy.export.on_demand import Wanted
from hat_deploy.networks.checkpoint import save_checkpoint


def enlarged(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 3), (9, 13, 4), (1, 1), (1, 1, 3), (1, 1, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_picture_keeps_its_kind(
    shape: tuple[int, ...], dtype: type, channels: int
) -> None:
    pixels = np.random.default_rng(0).integers(1, np.iinfo(dtype).max, shape, dtype)
    with Upscaler(IdentityEngine(channels=channels)) as upscaler:
        assert np.array_equal(upscaler.upscale(pixels), enlarged(pixels))


def test_what_lies_under_full_transparency_stains_nothing() -> None:
    pixels = np.full((8, 8, 4), 200, np.uint8)
    pixels[:, 4:] = 0  # black, and transparent
    result = Upscaler(IdentityEngine()).upscale(pixels)
    assert (result[..., :3] == 200).all()
    assert np.array_equal(result[..., 3], enlarged(pixels[..., 3]))


def test_progress_counts_tiles() -> None:
    seen: list[tuple[int, int]] = []
    upscaler = Upscaler(IdentityEngine(batch=2), halo=4)
    upscaler.upscale(np.zeros((32, 32, 3), np.uint8), progress=lambda *now: seen.append(now))
    assert seen == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]


def test_values_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(CheckFailed, match="not finite"):
        Upscaler(NaNEngine()).upscale(np.zeros((8, 8, 3), np.uint8))


class TestOneFile:
    def test_it_is_written_whole_with_its_metadata(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
        picture = images.Picture(pixels=pixels, metadata=images.Metadata(xmp=b"<x/>"))
        images.write(picture, tmp_path / "a.png")
        done = Upscaler(IdentityEngine()).upscale_file(tmp_path / "a.png", tmp_path / "b" / "c.png")
        assert (done.tiles, done.notes) == (1, ())
        result = images.decode(tmp_path / "b" / "c.png")
        assert np.array_equal(result.pixels, enlarged(pixels))
        assert result.metadata.xmp == b"<x/>"
        assert [p.name for p in (tmp_path / "b").iterdir()] == ["c.png"]

    def test_it_never_replaces_its_source(self, tmp_path: Path) -> None:
        source = tmp_path / "a.png"
        images.write(images.Picture(pixels=np.zeros((4, 4), np.uint8)), source)
        (tmp_path / "b.png").symlink_to(source)
        before = source.read_bytes()
        for target in (source, tmp_path / "b.png"):
            with pytest.raises(UsageError, match="another file"):
                Upscaler(IdentityEngine()).upscale_file(source, target)
        assert source.read_bytes() == before

    def test_what_cannot_be_done_is_said(self, tmp_path: Path) -> None:
        upscaler = Upscaler(IdentityEngine())
        with pytest.raises(PictureError, match="cannot be read"):
            upscaler.upscale_file(tmp_path / "none.png", tmp_path / "b.png")
        images.write(images.Picture(pixels=np.zeros((4, 4), np.uint8)), tmp_path / "a.png")
        with pytest.raises(UsageError, match="is not one of"):
            upscaler.upscale_file(tmp_path / "a.png", tmp_path / "b.txt")
        (tmp_path / "file").touch()
        with pytest.raises(PictureError, match="cannot be written"):
            upscaler.upscale_file(tmp_path / "a.png", tmp_path / "file" / "b.png")


def test_a_folder_by_one_call(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png"):
        images.write(images.Picture(pixels=np.zeros((4, 4), np.uint8)), tmp_path / "in" / name)
    (tmp_path / "in" / "bad.png").write_bytes(b"x")
    (tmp_path / "in" / "link.png").symlink_to("nowhere")
    seen: list[folders.Progress] = []
    upscaler = Upscaler(IdentityEngine())
    options = {"recursive": True, "format": "webp", "progress": seen.append}
    outcomes = upscaler.upscale_folder(tmp_path / "in", tmp_path / "out", **options)
    kinds = sorted((o.source.name, type(o).__name__) for o in outcomes)
    assert kinds == [
        ("a.png", "Done"), ("b.png", "Done"), ("bad.png", "Failed"), ("link.png", "Failed"),
    ]  # fmt: skip
    assert (tmp_path / "out" / "deep" / "b.webp").is_file()
    assert (seen[-1].settled, seen[-1].jobs) == (3, 3)
    again = upscaler.upscale_folder(tmp_path / "in", tmp_path / "out", **options)
    assert sum(isinstance(outcome, folders.Skipped) for outcome in again) == 2


class TestTwoDepths:
    """On a GPU, bytes for 8-bit pictures and floats for others; told apart here by fakes."""

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch, tiny_onnx: Path) -> list[str]:
        opened: list[str] = []
        described = artifact.describe(tiny_onnx)

        def artifact_for(named: Checkpoint, wanted: Wanted, **_: object) -> Artifact:
            opened.append(wanted.io)
            return Artifact(Path(f"{wanted.io}.onnx"))

        def open_artifact(found: Artifact, **_: object) -> IdentityEngine:
            return IdentityEngine(layout="NHWC" if found.path.stem == "uint8" else "NCHW")

        monkeypatch.setattr(on_demand, "artifact_for", artifact_for)
        monkeypatch.setattr(artifact, "describe", lambda path: replace(described, io=path.stem))
        monkeypatch.setattr(engines, "open_artifact", open_artifact)
        return opened

    def test_floats_are_opened_for_the_first_deep_picture(self, opened: list[str]) -> None:
        with Upscaler("hat-nano-x2", device="cuda") as upscaler:
            assert upscaler.engine.input.dtype == "uint8"
            upscaler.upscale(np.zeros((4, 4, 3), np.uint8))
            assert opened == ["uint8"]
            for _ in range(2):
                assert upscaler.upscale(np.zeros((4, 4), np.uint16)).dtype == np.uint16
            assert opened == ["uint8", "float"]

    def test_one_artifact_does_for_both_on_a_cpu(self, opened: list[str]) -> None:
        upscaler = Upscaler("hat-nano-x2")
        for dtype in (np.uint8, np.uint16):
            upscaler.upscale(np.zeros((4, 4), dtype))
        assert opened == ["float"]

    def test_without_an_exporter_the_ready_floats_do(
        self, opened: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def artifact_for(named: Checkpoint, wanted: Wanted, **_: object) -> Artifact:
            if wanted.io == "uint8":
                raise MissingExtraError("torch", "export", "Exporting")
            return Artifact(Path("float.onnx"))

        monkeypatch.setattr(on_demand, "artifact_for", artifact_for)
        assert Upscaler("hat-nano-x2", device="cuda").engine.input.dtype == "float32"

    def test_where_floats_cannot_be_had_each_deep_picture_says_so(
        self, opened: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upscaler = Upscaler("hat-nano-x2", device="cuda")

        def refuse(*_: object, **__: object) -> Artifact:
            opened.append("refused")
            raise ArtifactError("the GPU is full")

        monkeypatch.setattr(on_demand, "artifact_for", refuse)
        for _ in range(2):
            with pytest.raises(PictureError, match="the GPU is full"):
                upscaler.upscale(np.zeros((4, 4), np.uint16))
        assert opened == ["uint8", "refused"]


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


def test_a_precision_that_would_not_run_here_is_refused_before_it_is_exported(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hat_deploy.engines.openvino.supports", lambda precision: False)
    monkeypatch.setattr(on_demand, "artifact_for", pytest.fail)
    with pytest.raises(UsageError, match="no bf16 instructions"):
        Upscaler(tiny_checkpoint, precision="bf16")


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


@pytest.fixture
def tiny_checkpoint(quick_checkpoint: Path) -> Path:
    """One that is exported quickly."""
    return quick_checkpoint


@pytest.mark.slow
def test_a_checkpoint_is_exported_once(tiny_checkpoint: Path) -> None:
    stages: list[str] = []
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    first = Upscaler(tiny_checkpoint, tile=(16, 16), on_stage=stages.append).upscale(pixels)
    assert stages
    (entry,) = cache.cache_folder().glob("*.onnx")
    made = entry.stat().st_ino
    stages.clear()
    assert np.array_equal(Upscaler(tiny_checkpoint, tile=(16, 16)).upscale(pixels), first)
    assert not stages
    assert entry.stat().st_ino == made


@pytest.mark.slow
def test_other_weights_and_other_batches_are_other_entries(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    other = tmp_path / "tiny.pth"
    save_checkpoint(random_edsr(seed=1), other)
    Upscaler(tiny_checkpoint, tile=(16, 16))
    Upscaler(other, tile=(16, 16))
    Upscaler(other, tile=(16, 32))
    assert len(list(cache.cache_folder().glob("*.onnx"))) == 2  # one runs at any size
    Upscaler(other, tile=(16, 32), batch=2)
    assert len(list(cache.cache_folder().glob("*.onnx"))) == 3


def test_a_checkpoint_that_is_none_is_said(tmp_path: Path) -> None:
    page = tmp_path / "hat.pth"
    page.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(CheckpointError, match="HTML"):
        Upscaler(page)


def test_the_public_api() -> None:
    public = {"Done", "Failed", "HatDeployError", "Skipped", "TargetSize", "Upscaler"}
    assert set(hat_deploy.__all__) == {*public, "__version__"}
    assert all(isinstance(getattr(hat_deploy, name), type) for name in public)
    with pytest.raises(AttributeError):
        hat_deploy.nothing  # noqa: B018
