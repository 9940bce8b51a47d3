"""What of the harness for TensorRT 8.6 can be seen without it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnx
import pytest
from gpu import harness_prepare
from tiny import tiny_config

from hat_deploy.artifact import describe
from hat_deploy.engines import open_artifact
from hat_deploy.metrics import compare

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("harness")
    harness_prepare.prepare(path, tiny_config(), (24, 16), 2)
    return path


@pytest.mark.slow
def test_the_network_is_in_opset_17_and_computes_the_same(folder: Path) -> None:
    path = folder / "network.onnx"
    assert onnx.load(path).opset_import[0].version == 17
    assert describe(path).tile == (24, 16)
    with open_artifact(path, threads=1) as engine:
        result = engine.run(np.load(folder / "input.npy"))
    assert compare(np.load(folder / "reference.npy"), result).max_abs <= 1e-5


def test_the_script_is_python_310_and_imports_little() -> None:
    source = (ROOT / "tests" / "gpu" / "harness.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 10))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imported == {
        "__future__", "argparse", "dataclasses", "hat_deploy", "numpy", "pathlib", "tensorrt",
        "time", "typing",
    }  # fmt: skip
