"""The engine class on TensorRT 8.6, where a bundle of it is at hand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gpu import harness_prepare
from tiny import tiny_config

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
PYTHON = "HAT_DEPLOY_TENSORRT_86"
"""Names an environment variable: a Python 3.10 with TensorRT 8.6, numpy and cuda-python."""


def test_tensorrt_86_drives_the_engine(tmp_path: Path, executed: Callable[[str], None]) -> None:
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"${PYTHON} names no Python with TensorRT 8.6")
    harness_prepare.prepare(tmp_path, tiny_config(), (24, 16), 2)
    done = subprocess.run(
        [python, ROOT / "tests" / "gpu" / "harness.py", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("ok")
    executed(done.stdout.splitlines()[1])
