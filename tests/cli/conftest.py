"""What the tests of commands start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import Run, runner


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


@pytest.fixture
def here(
    tmp_path: Path, tiny_checkpoint: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working folder, with ``tiny.pth`` and the ``tiny.onnx`` made of it."""
    shutil.copy(tiny_checkpoint, tmp_path / "tiny.pth")
    shutil.copy(tiny_onnx, tmp_path / "tiny.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path
