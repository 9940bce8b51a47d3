"""An artifact's own test, where it was loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from simulated import DTYPE, SimulatedCuda, SimulatedTensorRT, plan_file

from hat_deploy.artifact import Artifact, Description, describe
from hat_deploy.artifact.info import examine, lines
from hat_deploy.artifact.self_test import COUNT, SelfTest, fixed_tile
from hat_deploy.engines import BACKENDS, open_artifact, self_test
from hat_deploy.engines.tensorrt.engine import TensorRTEngine
from hat_deploy.engines.tensorrt.library import Library
from hat_deploy.errors import ArtifactError
from hat_deploy.networks.hat.network import HAT

FIRST_ROW = [[192, 123, 122], [187, 111, 128], [181, 111, 136], [192, 100, 115], [169, 119, 128]]
BYTES = {"input": (2, 24, 16, 3), "output": (2, 48, 32, 3), "peak": (2,)}


def damaged(source: Path, target: Path) -> Path:
    """All convolutions weigh a little more: the file is whole, and its result is wrong."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4 and tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor) * np.float32(1.05)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, target)
    return target


def test_the_tile_is_the_same_on_every_machine() -> None:
    tile = fixed_tile(4, 5, 3)
    assert tile[0].tolist() == FIRST_ROW
    assert (fixed_tile(64, 64, 3).min(), fixed_tile(64, 64, 3).max()) == (64, 223)


def test_an_artifact_carries_the_references_values(tiny_onnx: Path) -> None:
    test = describe(tiny_onnx).self_test
    assert test is not None
    assert (len(test.expected), test.floor) == (COUNT, 90)
    assert len(describe(tiny_onnx).to_json()) < 3000
    assert Description.from_json(describe(tiny_onnx).to_json(), tiny_onnx) == describe(tiny_onnx)
    assert any("256 values of the reference" in line for line in lines(examine(str(tiny_onnx))))


@pytest.mark.parametrize("io", ["float", "uint8"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_results_are_refused_when_the_engine_is_opened(
    tmp_path: Path, shallow_network: HAT, exported: Callable[..., Any], io: str, backend: str
) -> None:
    sound = exported(shallow_network, tile=(16, 16), io=io).path
    path = damaged(sound, tmp_path / "wrong.onnx")
    open_artifact(sound, backend=backend, threads=1)
    with pytest.raises(ArtifactError, match=rf"own test's result in {backend} .*PSNR .* dB was"):
        open_artifact(path, backend=backend, threads=1)
    open_artifact(path, backend=backend, threads=1, self_test=False)


def test_a_test_that_was_passed_is_not_run_again(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_artifact(tiny_onnx, backend="onnxruntime", threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(self_test, "run", pytest.fail)
        open_artifact(tiny_onnx, backend="onnxruntime", threads=1)
    runs: list[object] = []

    def counted(engine: Any, test: SelfTest) -> Any:
        runs.append(engine)
        return run(engine, test)

    run = self_test.run
    monkeypatch.setattr(self_test, "run", counted)
    monkeypatch.setattr(self_test, "cpu_name", lambda: "another processor")
    open_artifact(tiny_onnx, backend="onnxruntime", threads=1)
    open_artifact(tiny_onnx, backend="openvino", threads=1)
    assert len(runs) == 2


def test_an_older_artifact_is_not_tested_and_info_says_so(tmp_path: Path, tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    (entry,) = (e for e in model.metadata_props if e.key == "hat-deploy")
    entry.value = replace(describe(tiny_onnx), self_test=None).to_json()
    onnx.save(model, tmp_path / "old.onnx")
    open_artifact(damaged(tmp_path / "old.onnx", tmp_path / "x.onnx"), threads=1)
    assert any(
        "none: an older release" in line for line in lines(examine(str(tmp_path / "x.onnx")))
    )


@pytest.mark.parametrize(
    "found",
    [
        7,
        {},
        {"generator": 1, "floor": 90, "values": "0"},
        {"generator": 1, "floor": float("nan"), "values": ""},
        {"generator": 0, "floor": 90, "values": ""},
        {"generator": 1, "floor": 90, "values": "\\" * 1280},
        {"generator": 1, "floor": 90, "values": 5},
    ],
)
def test_what_is_no_test_is_refused(found: object) -> None:
    with pytest.raises(ValueError):
        SelfTest.from_dict(found)


def test_a_newer_test_is_left_alone() -> None:
    assert not SelfTest.from_dict({"generator": 2, "floor": 90, "values": "?"}).usable


def plan(tmp_path: Path, tiny_onnx: Path) -> Path:
    """A plan of bytes for the simulated TensorRT, whose result is every pixel four times."""
    pixels = fixed_tile(24, 16, 3).transpose(2, 0, 1) / np.float32(255)
    described = replace(
        describe(tiny_onnx),
        versions={"tensorrt": "10.13.0"},
        targets=("sm89",),
        io="uint8",
        precision="fp16",
        outputs=("output", "peak"),
        self_test=SelfTest.of(pixels.repeat(2, 1).repeat(2, 2), 60, tuple(pixels.shape[1:])),
    )
    return plan_file(tmp_path / "tiny.plan", described.to_json())


@pytest.mark.parametrize(
    ("fault", "says"),
    [({}, None), ({"wrong": 7}, "PSNR"), ({"peak": np.inf}, "not finite"), ({"wrong": 1}, "PSNR")],
)
def test_a_plan_is_tested_on_its_gpu(
    tmp_path: Path, tiny_onnx: Path, fault: dict[str, Any], says: str | None
) -> None:
    cuda = SimulatedCuda()
    trt = SimulatedTensorRT(cuda, shapes=BYTES, dtype=DTYPE.UINT8, **fault)
    path = plan(tmp_path, tiny_onnx)
    with TensorRTEngine(path, library=Library("tensorrt", trt), device=cuda) as engine:
        if says is None:
            self_test.require(engine, Artifact(path))
            assert engine.peaks is not None and engine.peaks.tolist() == [1, 1]
        else:
            with pytest.raises(ArtifactError, match=says):
                self_test.require(engine, Artifact(path))
    assert cuda.leftovers == []
