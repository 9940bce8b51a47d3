"""No silent NaN: values that are not finite never become an image, whatever computes them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from fakes import IdentityEngine
from onnx import numpy_helper

from hat_deploy import Upscaler
from hat_deploy.artifact import describe
from hat_deploy.engines import BACKENDS, open_artifact
from hat_deploy.engines.base import Array
from hat_deploy.engines.onnxruntime import Bound, OnnxRuntimeEngine
from hat_deploy.errors import ArtifactError, CheckFailed
from hat_deploy.folders import Done, Failed
from hat_deploy.networks.hat.network import HAT
from hat_deploy.tiles.enlarger import Later

FAULTS = {"nan": np.nan, "infinity": np.inf, "overflow": 3e38}
Faulty = Callable[[str, str], Path]


@pytest.fixture
def faulty(tmp_path: Path, shallow_network: HAT, exported: Callable[..., object]) -> Faulty:
    """A real artifact whose convolutions meet a value that is none, or one that is too large."""

    def make(io: str, fault: str) -> Path:
        report = exported(shallow_network, tile=(16, 16), batch=2, io=io)
        model = onnx.load(report.path)  # type: ignore[attr-defined]
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim == 4:
                values = values.copy()
                values.flat[0] = FAULTS[fault]
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(model, tmp_path / f"{io}-{fault}.onnx")
        return tmp_path / f"{io}-{fault}.onnx"

    return make


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("io", ["float", "uint8"])
def test_no_image_is_written(
    tmp_path: Path, faulty: Faulty, io: str, fault: str, backend: str
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "a.png"), np.full((20, 20, 3), 200, np.uint8))
    path = faulty(io, fault)
    with pytest.raises(
        ArtifactError, match=r"its own test's result in .*values that are not finit"
    ):
        Upscaler(path, backend=backend, threads=1)
    with Upscaler(path, backend=backend, threads=1, self_test=False) as upscaler:
        (outcome,) = upscaler.upscale_folder(photos)
        with pytest.raises(CheckFailed, match="not finite"):
            upscaler.upscale(np.full((20, 20, 3), 200, np.uint8))
    assert isinstance(outcome, Failed)
    assert "not finite (NaN or infinity)" in outcome.reason
    assert not list((tmp_path / "photos-x2").glob("*.png"))


def test_the_peaks_of_a_sound_artifact_are_its_largest_magnitudes(
    shallow_network: HAT, exported: Callable[..., object]
) -> None:
    made = {
        io: exported(shallow_network, tile=(16, 16), batch=2, io=io) for io in ("float", "uint8")
    }
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    floats = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(255))
    for backend in BACKENDS:
        with (
            open_artifact(made["float"].path, backend=backend, threads=1) as plain,  # type: ignore[attr-defined]
            open_artifact(made["uint8"].path, backend=backend, threads=1) as rounded,  # type: ignore[attr-defined]
        ):
            expected = np.abs(plain.run(floats)).max(axis=(1, 2, 3))
            assert plain.peaks is None
            rounded.run(pixels)
            assert rounded.peaks is not None
            assert np.allclose(rounded.peaks, expected, atol=1e-5)


def test_bound_memory_has_peaks_too(faulty: Faulty) -> None:
    engine = OnnxRuntimeEngine(faulty("uint8", "nan"), threads=1)
    bound = Bound(engine._session, engine._ports, "cpu")
    _, peaks = bound.run((np.zeros(engine.input.shape, np.uint8),))
    assert not np.isfinite(peaks).any()


def test_an_older_artifact_with_one_output_still_runs(
    tmp_path: Path, shallow_network: HAT, exported: Callable[..., object]
) -> None:
    path = tmp_path / "old.onnx"
    shutil.copy(exported(shallow_network, tile=(16, 16), io="uint8").path, path)  # type: ignore[attr-defined]
    path.chmod(0o644)
    model = onnx.load(path)
    del model.graph.output[1:]
    (entry,) = (e for e in model.metadata_props if e.key == "hat-deploy")
    entry.value = entry.value.replace('"outputs":["output","peak"],', "")
    onnx.save(model, path)
    assert describe(path).outputs == ()
    for backend in BACKENDS:
        with open_artifact(path, backend=backend, threads=1) as engine:
            engine.run(np.zeros(engine.input.shape, np.uint8))
            assert engine.peaks is None


class Overflowing(IdentityEngine):
    """Bytes, of which the second tile of every batch was not finite before it was rounded."""

    def __init__(self) -> None:
        super().__init__(batch=2, layout="NHWC")

    def run(self, batch: Array) -> Array:
        self._peaks = np.array([1, np.nan], np.float32)
        return super().run(batch) * 0


def test_only_the_image_of_the_tile_fails() -> None:
    with Upscaler(Overflowing()) as upscaler:
        small = upscaler.upscale(np.zeros((16, 16, 3), np.uint8))
        assert small.shape == (32, 32, 3)
        with pytest.raises(CheckFailed, match="not finite"):
            upscaler.upscale(np.zeros((16, 64, 3), np.uint8))


def test_such_tiles_are_computed_again_by_a_wider_engine_and_the_run_says_so(
    tmp_path: Path,
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (16, 64, 3), np.uint8)
    cv2.imwrite(str(photos / "a.png"), image)
    said: list[str] = []
    with Upscaler(Overflowing(), on_warning=said.append) as upscaler:
        upscaler._wider = Later(IdentityEngine)
        large = upscaler.upscale(image)
        (outcome,) = upscaler.upscale_folder(photos)
    columns = (large == image.repeat(2, 0).repeat(2, 1)).all(axis=(0, 2))
    assert columns[32:64].any() and not columns[:20].any()
    assert isinstance(outcome, Done)
    note = "tiles were not finite in half precision and were computed again in fp32"
    assert said[-1].endswith(note) and outcome.notes[-1] == said[-1]


def test_where_there_is_no_wider_engine_after_all_the_image_fails_and_says_why() -> None:
    def fail() -> IdentityEngine:
        raise ArtifactError("no room")

    with Upscaler(Overflowing()) as upscaler:
        upscaler._wider = Later(fail)
        with pytest.raises(CheckFailed, match=r"not finite .*; it could not .* in fp32: no room"):
            upscaler.upscale(np.zeros((16, 64, 3), np.uint8))
