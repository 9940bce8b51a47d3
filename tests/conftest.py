"""Fixtures that several tests share; what costs seconds is made once a session."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from tiny import fingerprint, random_edsr, random_network, tiny_config

from hat_deploy.export.to_onnx import ExportOptions, ExportReport, export_onnx
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.hat.network import HAT

TINY_TILE = (24, 16)
Exported = Callable[..., ExportReport]
"""Takes a network and the options of an export."""

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
def shallow_network() -> HAT:
    """One block, the quickest to export: for tests to which the network does not matter."""
    return random_network(tiny_config(depths=(1,)))


@pytest.fixture(scope="session")
def shallow_checkpoint(shallow_network: HAT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shallow") / "tiny.pth"
    save_checkpoint(shallow_network, path)
    return path


@pytest.fixture(scope="session")
def quick_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EDSR of one block, x2, in ``tiny.pth``: exported in a sixth of a HAT's time."""
    path = tmp_path_factory.mktemp("quick") / "tiny.pth"
    save_checkpoint(random_edsr(), path)
    return path


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one test run share."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def exported(of_all_workers: Path) -> Exported:
    """Exports a network, or gives what an earlier test exported with the same weights and options.

    The files are for reading only: a test that changes one copies it.
    """

    def export(network: HAT, *, checkpoint_sha256: str = "00" * 32, **options: Any) -> ExportReport:
        asked = ExportOptions(**options)
        asked = replace(asked, opset=asked.chosen_opset)
        key = repr((network.config, fingerprint(network), asked, checkpoint_sha256))
        folder = of_all_workers / hashlib.sha256(key.encode()).hexdigest()
        with FileLock(f"{folder}.lock"):
            known = folder / "report.pickle"
            if not known.exists():
                folder.mkdir(exist_ok=True)
                path = folder / "tiny.onnx"
                report = export_onnx(
                    network, path, asked, model="tiny", checkpoint_sha256=checkpoint_sha256
                )
                path.chmod(0o444)
                known.write_bytes(pickle.dumps(report))
            found: ExportReport = pickle.loads(known.read_bytes())
            return found

    return export


@pytest.fixture(scope="session")
def tiny_report(tiny_network: HAT, exported: Exported) -> ExportReport:
    """The tiny network exported: 24x16 tiles, two at a time."""
    return exported(tiny_network, tile=TINY_TILE, batch=2)


@pytest.fixture(scope="session")
def tiny_onnx(tiny_report: ExportReport) -> Path:
    return tiny_report.path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test does touches the user's cache."""
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shared_cache(_own_cache: None, of_all_workers: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with what earlier tests exported, for tests that are about something else."""
    cache = of_all_workers / "cache"
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(cache))
    return cache


@pytest.fixture(autouse=True)
def _own_interrupts() -> Iterator[None]:
    """A command that a test ran in this process does not go on answering Ctrl-C."""
    handler, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    yield
    signal.signal(signal.SIGINT, handler)
    signal.set_wakeup_fd(-1)
    sys.unraisablehook = hook
