"""PyTorch and ONNX Runtime on a GPU, and what ``--model`` makes of a checkpoint there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import random_network, tiny_config

from hat_deploy import artifact
from hat_deploy.artifact.resolve import resolve
from hat_deploy.engines import open_artifact
from hat_deploy.engines.base import Array, Engine
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import HatDeployError
from hat_deploy.export import on_demand
from hat_deploy.export.to_onnx import ExportOptions, describe, write
from hat_deploy.metrics import compare
from hat_deploy.precision import Precision

pytestmark = pytest.mark.gpu
TILE = (24, 16)
Ran = Callable[[Engine], None]


@pytest.fixture
def batch() -> Array:
    return np.random.default_rng(0).random((2, 3, *TILE), np.float32)


@pytest.fixture
def expected(batch: Array) -> Array:
    with TorchEngine(random_network(tiny_config()), tile=TILE, batch=2) as reference:
        return reference.run(batch)


@pytest.mark.parametrize(("precision", "floor"), [("fp32", 55), ("fp16", 45), ("bf16", 35)])
def test_pytorch(
    batch: Array, expected: Array, precision: str, floor: float, executed: Ran
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")
    network = random_network(tiny_config())
    with TorchEngine(network, tile=TILE, batch=2, precision=precision, device="cuda") as engine:
        assert compare(expected, engine.run(batch)).psnr >= floor
        executed(engine)


def export(folder: Path, **options: object) -> Path:
    network = random_network(tiny_config())
    chosen = ExportOptions(**{"tile": TILE, "batch": 2} | options)
    path = folder / "tiny.onnx"
    write(network, path, describe(network, chosen, model="tiny", checkpoint_sha256="00" * 32))
    return path


def on_cuda(path: Path) -> Engine:
    try:
        return open_artifact(path, device="cuda")
    except HatDeployError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_runtime(
    tmp_path: Path, batch: Array, expected: Array, precision: str, executed: Ran
) -> None:
    with on_cuda(export(tmp_path, precision=precision)) as engine:
        results = [engine.run(batch), *engine.stream([batch, batch])]
        executed(engine)
    for result in results:
        assert compare(expected, result).psnr >= Precision.of(precision).floor


def test_onnx_runtime_with_bytes(tmp_path: Path, executed: Ran) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *TILE, 3), np.uint8)
    path = export(tmp_path, io="uint8")
    with open_artifact(path) as on_cpu:
        expected = on_cpu.run(pixels)
    with on_cuda(path) as engine:
        result = engine.run(pixels)
        executed(engine)
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_a_checkpoint_becomes_an_artifact_for_this_gpu_once(
    tiny_checkpoint: Path, executed: Ran
) -> None:
    stages: list[str] = []
    wanted = on_demand.Wanted(tile=TILE, device="cuda")
    checkpoint = resolve(tiny_checkpoint)
    made = on_demand.artifact_for(checkpoint, wanted, on_stage=stages.append).path
    target = on_demand.plan_target()
    assert made.suffix == (".plan" if target else ".onnx")
    if target:
        assert any(told.startswith(f"building a plan for {target.gpu}, once") for told in stages)
        assert artifact.describe(made).targets == (target.sm,)
    stages.clear()
    assert on_demand.artifact_for(checkpoint, wanted, on_stage=stages.append).path == made
    # A TensorRT that does not build for this GPU is named each time; nothing is made.
    assert [told for told in stages if "does not build for this GPU" not in told] == []
    with on_cuda(made) as engine:
        assert np.isfinite(engine.run(np.zeros(engine.input.shape, np.float32))).all()
        executed(engine)
