from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes import IdentityEngine
from tiny import random_network, tiny_config

from hat_deploy import Upscaler
from hat_deploy.engines import BACKENDS, open_artifact
from hat_deploy.engines.base import Engine, scale_of
from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.metrics import compare
from hat_deploy.networks.hat.network import HAT


@pytest.fixture(params=["torch", "onnxruntime"])
def engine(request: pytest.FixtureRequest, tiny_onnx: Path) -> Engine:
    if request.param == "torch":
        return TorchEngine(random_network(tiny_config()), tile=(24, 16), batch=2)
    return OnnxRuntimeEngine(tiny_onnx, threads=1)


def test_an_engine_declares_its_io(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert engine.input.shape == (2, 3, 24, 16)
    assert engine.output.shape == (2, 3, 48, 32)
    assert (engine.input.size, engine.input.batch, engine.input.channels) == ((24, 16), 2, 3)
    assert (scale_of(engine), engine.window) == (2, 4)
    assert "fp32" in engine.name and "cpu" in engine.name


def test_it_returns_what_it_declares(engine: Engine) -> None:
    with engine as running:
        result = running.run(np.zeros(running.input.shape, np.float32))
    assert (result.shape, result.dtype) == (engine.output.shape, np.float32)
    assert result.flags.c_contiguous


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 24, 16), np.float32),
        np.zeros((2, 3, 24, 16), np.float64),
        np.zeros((2, 24, 16, 3), np.float32).transpose(0, 3, 1, 2),
    ],
    ids=["shape", "dtype", "order"],
)
def test_another_batch_is_refused(engine: Engine, batch: np.ndarray) -> None:
    with pytest.raises(ValueError, match="engine input 'input'"):
        engine.run(batch)


def test_engines_agree(tiny_network: HAT, tiny_onnx: Path) -> None:
    batch = np.random.default_rng(0).random((2, 3, 24, 16), dtype=np.float32)
    with (
        TorchEngine(tiny_network, tile=(24, 16), batch=2) as reference,
        open_artifact(tiny_onnx, threads=1) as engine,
    ):
        assert compare(reference.run(batch), engine.run(batch)).max_abs <= 1e-5


@pytest.mark.parametrize(("precision", "floor"), [("bf16", 40), ("fp16", 50)])
def test_half_precision_references(precision: str, floor: float) -> None:
    batch = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    full = TorchEngine(random_network(tiny_config()), tile=(8, 8)).run(batch)
    half = TorchEngine(random_network(tiny_config()), tile=(8, 8), precision=precision).run(batch)
    assert floor < compare(full, half).psnr < 100


def test_absent_devices_are_usage_errors(tiny_network: HAT, tiny_onnx: Path) -> None:
    import onnxruntime
    import torch

    if torch.cuda.is_available() or "CUDAExecutionProvider" in (
        onnxruntime.get_available_providers()
    ):
        pytest.skip("this machine has CUDA")
    with pytest.raises(UsageError, match="no CUDA device"):
        TorchEngine(tiny_network, tile=(8, 8), device="cuda")
    with pytest.raises(UsageError, match="CUDAExecutionProvider"):
        OnnxRuntimeEngine(tiny_onnx, device="cuda")


def test_a_graph_the_runtime_refuses_is_an_artifact_error(tmp_path: Path, tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.graph.node[0].op_type = "NoSuchOp"
    path = tmp_path / "x.onnx"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load"):
        OnnxRuntimeEngine(path)


def test_on_a_cpu_openvino_runs_artifacts_unless_told_otherwise(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_artifact(tiny_onnx, threads=1).name.startswith("openvino")
    assert open_artifact(tiny_onnx, threads=1, backend="onnxruntime").name.startswith("onnxruntime")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert open_artifact(tiny_onnx, threads=1).name.startswith("onnxruntime")


def test_what_an_engine_cannot_do_is_a_usage_error(tiny_onnx: Path) -> None:
    with pytest.raises(UsageError, match="use openvino"):
        open_artifact(tiny_onnx, backend="onnxruntime", compute="bf16")
    with pytest.raises(UsageError, match="on the CPU"):
        open_artifact(tiny_onnx, backend="openvino", device="cuda")
    with pytest.raises(UsageError, match="as it was built"):
        open_artifact(Path("x.plan"), compute="bf16")


def test_a_dynamic_graph_is_refused(tmp_path: Path, tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    path = tmp_path / "x.onnx"
    onnx.save(model, path)
    for backend in BACKENDS:
        with pytest.raises(ArtifactError):
            open_artifact(path, backend=backend)


def test_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"\.txt"):
        open_artifact(tmp_path / "x.txt")


@pytest.mark.parametrize(
    "shape", [(1, 3, 32, 48), (1, 3, 40, 40), (1, 1, 32, 32), (2, 3, 32, 32), (1, 3, 8, 8)]
)
def test_an_engine_that_does_not_enlarge_evenly_has_no_scale(shape: tuple[int, ...]) -> None:
    engine = IdentityEngine()
    assert scale_of(engine) == 2
    engine._output = replace(engine.output, shape=shape)
    with pytest.raises(ArtifactError, match="times one whole number"):
        Upscaler(engine).upscale(np.zeros((16, 16, 3), np.uint8))
