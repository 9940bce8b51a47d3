"""A network whose attention is fused: heads 30 wide, windows of 16, one plain block, one shifted
and an overlapping one. The tiny networks of the other tests are too small for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import random_network

from hat_deploy.artifact.launches import read_programs
from hat_deploy.engines import open_artifact
from hat_deploy.engines.base import Array, Engine
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import HatDeployError
from hat_deploy.export import to_plan
from hat_deploy.export.to_onnx import ExportOptions, describe, write
from hat_deploy.export.to_plan import BuildOptions
from hat_deploy.metrics import compare
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.precision import Precision

pytestmark = pytest.mark.gpu
CONFIG = HATConfig.published(2, depths=(2,), num_heads=6)
TILE = (64, 64)
Ran = Callable[[Engine], None]


@pytest.fixture(scope="module")
def batch() -> Array:
    return np.random.default_rng(0).random((1, 3, *TILE), np.float32)


@pytest.fixture(scope="module")
def expected(batch: Array) -> Array:
    with TorchEngine(random_network(CONFIG), tile=TILE) as reference:
        return reference.run(batch)


def export(folder: Path, precision: str, made_for: str) -> Path:
    network = random_network(CONFIG)
    chosen = ExportOptions(tile=TILE, precision=precision, made_for=made_for)
    path = folder / "fused.onnx"
    write(network, path, describe(network, chosen, model="fused", checkpoint_sha256="00" * 32))
    return path


def hold(engine: Engine, batch: Array, expected: Array, precision: str) -> None:
    found = compare(expected, engine.run(batch))
    assert found.non_finite == 0
    assert found.psnr >= Precision.of(precision).floor


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_plan(
    flavour: str, tmp_path: Path, batch: Array, expected: Array, precision: str, executed: Ran
) -> None:
    source = export(tmp_path, precision, "tensorrt")
    path = to_plan.build(source, tmp_path / "fused.plan", BuildOptions(flavour=flavour)).path
    for program in read_programs(path) or ():  # None where they cannot be read
        assert program.fused_attentions == 3
    with open_artifact(path, device="cuda") as engine:
        hold(engine, batch, expected, precision)
        executed(engine)


@pytest.mark.parametrize("made_for", ["any", "tensorrt"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_runtime(
    tmp_path: Path, batch: Array, expected: Array, precision: str, made_for: str, executed: Ran
) -> None:
    path = export(tmp_path, precision, made_for)
    try:
        engine = open_artifact(path, device="cuda")
    except HatDeployError as reason:
        pytest.skip(str(reason))
    with engine:
        hold(engine, batch, expected, precision)
        executed(engine)
