"""Fixtures that several tests share; what costs seconds is made once a session."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import random_network, tiny_config

from hat_deploy.export.to_onnx import ExportOptions, ExportReport, export_onnx
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.hat.network import HAT

TINY_TILE = (24, 16)

torch.set_num_threads(1)  # tiny networks lose more to waiting for threads than they gain


@pytest.fixture(scope="session")
def tiny_network() -> HAT:
    """A random x2 HAT with windows of 4."""
    return random_network(tiny_config())


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_network: HAT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pth"
    save_checkpoint(tiny_network, path)
    return path


@pytest.fixture(scope="session")
def tiny_report(tiny_network: HAT, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The tiny network exported: 24x16 tiles, two at a time."""
    return export_onnx(
        tiny_network,
        tmp_path_factory.mktemp("artifact") / "tiny.onnx",
        ExportOptions(tile=TINY_TILE, batch=2),
        model="tiny",
        checkpoint_sha256="00" * 32,
    )


@pytest.fixture(scope="session")
def tiny_onnx(tiny_report: ExportReport) -> Path:
    return tiny_report.path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test does touches the user's cache."""
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _own_interrupts() -> Iterator[None]:
    """A command that a test ran in this process does not go on answering Ctrl-C."""
    handler, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    yield
    signal.signal(signal.SIGINT, handler)
    signal.set_wakeup_fd(-1)
    sys.unraisablehook = hook
