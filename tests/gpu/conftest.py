"""Tests that need a CUDA device: they skip without one, and say at the end what really ran."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hat_deploy.engines.base import Engine
from hat_deploy.engines.cuda.driver import local_gpu, local_gpu_name
from hat_deploy.engines.tensorrt import library
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import HatDeployError

EXECUTED: dict[str, int] = {}
"""Names of engines, which say on what they ran, and how many tests ran them."""


@pytest.fixture(autouse=True, scope="session")
def _gpu() -> None:
    if local_gpu() is None:
        pytest.skip("no NVIDIA GPU: the driver is absent or sees none")


@pytest.fixture
def executed() -> Callable[[Engine | str], None]:
    """To be called with what has run."""

    def note(engine: Engine | str) -> None:
        name = engine if isinstance(engine, str) else engine.name
        EXECUTED[name] = EXECUTED.get(name, 0) + 1

    return note


@pytest.fixture(params=["tensorrt", "rtx"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Each TensorRT that is here and can build for this GPU."""
    if request.param == "rtx" and local_gpu() not in Flavour.RTX.targets:
        pytest.skip(f"TensorRT for RTX does not build for this GPU, {local_gpu()}")
    try:
        library.load(request.param)
    except HatDeployError as reason:
        pytest.skip(str(reason))
    return request.param


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("engines that executed on a GPU")
    terminalreporter.line(f"device: {local_gpu_name() or 'none'} ({local_gpu() or 'no driver'})")
    for name, count in sorted(EXECUTED.items()):
        terminalreporter.line(f"ran in {count} tests: {name}")
    if not EXECUTED:
        terminalreporter.line("none")
