from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from hat_deploy import cache
from hat_deploy.engines import openvino
from hat_deploy.engines.openvino import OpenVINOEngine
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.metrics import compare
from hat_deploy.networks.hat.network import HAT


def batches(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((2, 3, 24, 16), dtype=np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def engine(tiny_onnx: Path) -> OpenVINOEngine:
    return OpenVINOEngine(tiny_onnx, threads=1)


def test_fp32_is_the_reference(engine: OpenVINOEngine, tiny_network: HAT) -> None:
    (batch,) = batches(1)
    with TorchEngine(tiny_network, tile=(24, 16), batch=2) as reference:
        assert compare(reference.run(batch), engine.run(batch)).max_abs <= 1e-5
    assert engine.name.endswith("cpu, fp32")


def test_streams_keep_the_order(engine: OpenVINOEngine, tiny_onnx: Path) -> None:
    given = batches(5)
    reused = np.empty_like(given[0])

    def refilled() -> object:
        for batch in given:
            reused[:] = batch  # a batch may be overwritten once the next one is asked for
            yield reused

    with OpenVINOEngine(tiny_onnx, threads=2, streams=2) as parallel:
        found = list(parallel.stream(refilled()))
    assert len(found) == len(given)
    for batch, result in zip(given, found, strict=True):
        assert np.abs(result - engine.run(batch)).max() <= 1e-6


def test_a_stream_left_half_way_leaves_the_engine_usable(tiny_onnx: Path) -> None:
    given = batches(4)
    with OpenVINOEngine(tiny_onnx, threads=1, streams=2) as engine:
        first = next(engine.stream(given))
        assert np.array_equal(engine.run(given[0]), first)


def test_bf16_is_asked_for_and_holds_its_floor(engine: OpenVINOEngine, tiny_onnx: Path) -> None:
    try:
        half = OpenVINOEngine(tiny_onnx, precision="bf16", threads=1)
    except UsageError as error:
        pytest.skip(str(error))
    (batch,) = batches(1)
    psnr = compare(engine.run(batch), half.run(batch)).psnr
    assert 40 < psnr < 90  # a tiny random network; an infinite one would mean it ran in fp32
    assert half.name.endswith("bf16")


@pytest.mark.slow
def test_a_bf16_artifact_runs_in_bf16(
    tiny_network: HAT, exported: Callable[..., ExportReport]
) -> None:
    path = exported(tiny_network, tile=(16, 16), precision="bf16").path
    try:
        engine = OpenVINOEngine(path, threads=1)
    except UsageError as error:
        pytest.skip(str(error))
    batch = batches(1)[0][:1, :, :16]
    with TorchEngine(tiny_network, tile=(16, 16)) as reference:
        assert (
            compare(
                reference.run(np.ascontiguousarray(batch)), engine.run(np.ascontiguousarray(batch))
            ).psnr
            > 40
        )
    assert "bf16" in engine.name


@pytest.mark.slow
def test_bytes_go_in_and_out(tiny_network: HAT, exported: Callable[..., ExportReport]) -> None:
    path = exported(tiny_network, tile=(16, 16), io="uint8").path
    with OpenVINOEngine(path, threads=1) as engine:
        assert (engine.input.dtype, engine.input.layout) == ("uint8", "NHWC")
        result = engine.run(np.full((1, 16, 16, 3), 128, np.uint8))
    assert (result.dtype, result.shape) == (np.uint8, (1, 32, 32, 3))


def test_what_openvino_refuses_is_one_sentence(tiny_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.graph.node[0].op_type = "NoSuchOp"
    path = tmp_path / "x.onnx"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="OpenVINO cannot load") as caught:
        OpenVINOEngine(path)
    assert "\n" not in str(caught.value)


def test_another_precision_is_refused(tiny_onnx: Path) -> None:
    with pytest.raises(UsageError, match="fp32 or bf16"):
        OpenVINOEngine(tiny_onnx, precision="fp16")


def computed(path: Path) -> np.ndarray:
    with OpenVINOEngine(path, threads=1) as engine:
        return engine.run(batches(1)[0])


def blobs() -> list[Path]:
    return sorted(cache.cache_folder().glob("*.blob"))


def doubled(source: Path, target: Path) -> Path:
    """An artifact of equal size, whose last convolution gives twice as much."""
    model = onnx.load(source)
    last = next(n for n in reversed(model.graph.node) if n.op_type == "Conv")
    for tensor in model.graph.initializer:
        if tensor.name in last.input:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(2)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, target)
    return target


def test_a_model_is_known_by_its_content_not_by_its_path(tiny_onnx: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.onnx", doubled(tiny_onnx, tmp_path / "other.onnx")
    onnx.save(onnx.load(tiny_onnx), one)
    assert one.stat().st_size == other.stat().st_size
    found = []
    for source in (one, other):
        path = shutil.copy(source, tmp_path / "F.onnx")
        os.utime(path, (1_700_000_000, 1_700_000_000))
        found.append(computed(path))
    assert np.array_equal(found[1], computed(other))
    assert not np.array_equal(*found)
    assert len(blobs()) == 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_was_compiled_is_used_again_and_gives_the_same(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    def found() -> np.ndarray:
        try:
            with OpenVINOEngine(tiny_onnx, precision=precision, threads=1) as engine:
                return engine.run(batches(1)[0])
        except UsageError as error:
            pytest.skip(str(error))

    class Core(openvino.ov.Core):  # type: ignore[misc]
        def compile_model(self, *args: object) -> None:
            pytest.fail("it was compiled again")

    first = found()
    monkeypatch.setattr(openvino.ov, "Core", Core)
    assert np.array_equal(found(), first)


def test_a_damaged_blob_is_compiled_again(tiny_onnx: Path) -> None:
    first = computed(tiny_onnx)
    for place in range(4):
        (blob,) = blobs()
        damaged = bytearray(blob.read_bytes())
        at = len(damaged) * place // 4
        damaged[at : at + 4096] = bytes(b ^ 0xFF for b in damaged[at : at + 4096])
        blob.write_bytes(damaged)
        assert np.array_equal(computed(tiny_onnx), first), place
        (again,) = blobs()
        assert again.read_bytes() != damaged, place


def test_a_blob_that_openvino_refuses_is_compiled_again(tiny_onnx: Path) -> None:
    first = computed(tiny_onnx)
    (blob,) = blobs()
    blob.write_bytes(b"whole, and no model")
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()[:16]
    useless = blob.rename(blob.with_name(f"{blob.stem[:24]}-{digest}.blob"))
    assert np.array_equal(computed(tiny_onnx), first)
    (again,) = blobs()
    assert again != useless


def test_other_settings_are_another_blob(tiny_onnx: Path) -> None:
    for threads, streams in ((1, 1), (2, 1), (2, 2), (2, 2)):
        OpenVINOEngine(tiny_onnx, threads=threads, streams=streams).close()
    assert len(blobs()) == 3


def test_a_folder_that_cannot_be_written_is_done_without_and_said_once(
    tiny_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = computed(tiny_onnx)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "file" / "below"))
    for _ in range(2):
        assert np.array_equal(computed(tiny_onnx), first)
    (said,) = caplog.messages
    assert str(tmp_path / "file" / "below") in said
    assert "HAT_DEPLOY_CACHE" in said


def test_an_artifact_that_changes_meanwhile_is_said(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copy(tiny_onnx, tmp_path / "F.onnx")

    class Core(openvino.ov.Core):  # type: ignore[misc]
        def compile_model(self, *args: object) -> object:
            doubled(tiny_onnx, path)
            return super().compile_model(*args)

    monkeypatch.setattr(openvino.ov, "Core", Core)
    with pytest.raises(ArtifactError, match="was changed while it was loaded"):
        computed(path)
    assert blobs() == []
