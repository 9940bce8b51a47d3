"""One of several GPUs, chosen by its number."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from fakes import IdentityEngine
from simulated import SimulatedDriver
from typer.testing import CliRunner

from hat_deploy import Upscaler, engines
from hat_deploy.artifact import Artifact, zoo
from hat_deploy.cli.commands import app
from hat_deploy.cli.options import Device, named_device, named_devices
from hat_deploy.engines import self_test
from hat_deploy.engines.base import Engine
from hat_deploy.engines.cuda import driver, visible
from hat_deploy.engines.cuda.visible import VARIABLE, Devices, settle, settle_all
from hat_deploy.engines.several import count_of
from hat_deploy.errors import UsageError
from hat_deploy.folders import auto_tile

GPUS = ("NVIDIA L4", "NVIDIA L40S", "NVIDIA H200")
Sees = Callable[[str | None], SimulatedDriver]


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> Sees:
    """Starts a process on a machine with three GPUs; None leaves the variable unset."""

    def start(told: str | None) -> SimulatedDriver:
        monkeypatch.setenv(VARIABLE, told or "")
        if told is None:
            monkeypatch.delenv(VARIABLE)
        found = SimulatedDriver(*GPUS)
        monkeypatch.setattr(driver, "_library", lambda: found)
        monkeypatch.setattr(visible, "_chosen", ())
        return found

    return start


@pytest.mark.parametrize(
    ("told", "device", "name"),
    [
        (None, "cuda", "NVIDIA L4"),
        (None, "cuda:0", "NVIDIA L4"),
        (None, "cuda:2", "NVIDIA H200"),
        ("2,0", "cuda", "NVIDIA H200"),
        ("2, 1", "cuda:1", "NVIDIA L40S"),
        ("1", "cuda:0", "NVIDIA L40S"),
    ],
)
def test_the_first_that_is_visible_is_the_one_that_was_named(
    sees: Sees, told: str | None, device: str, name: str
) -> None:
    sees(told)
    assert settle(device) == "cuda"
    assert driver.local_gpu_name() == name
    assert driver.local_gpu_address() == f"00000000:{GPUS.index(name):02d}:00.0"


@pytest.mark.parametrize(
    ("told", "device"), [(None, "cuda:3"), ("1", "cuda:1"), ("0,7", "cuda:1"), ("", "cuda:1")]
)
def test_one_that_is_not_there_is_refused_and_changes_nothing(
    sees: Sees, told: str | None, device: str
) -> None:
    sees(told)
    before = os.environ.get(VARIABLE)
    with pytest.raises(UsageError, match=f"there is no GPU {device} here"):
        settle(device)
    assert os.environ.get(VARIABLE) == before


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:one", "cuda:1 ", ""])
def test_what_is_no_device_is_refused(sees: Sees, device: str) -> None:
    sees(None)
    with pytest.raises(UsageError, match="use cpu, cuda, or a GPU by number such as cuda:1"):
        settle(device)


def test_a_process_that_uses_one_keeps_it(sees: Sees) -> None:
    sees(None)
    assert [settle(device) for device in ("cuda:1", "cuda:1", "cuda", "cpu")] == [
        "cuda",
        "cuda",
        "cuda",
        "cpu",
    ]
    for other in ("cuda:0", "cuda:2"):
        with pytest.raises(UsageError, match=f"{other} cannot be chosen any more.*uses cuda:1"):
            settle(other)
    assert driver.local_gpu_name() == "NVIDIA L40S"


def test_a_process_that_uses_cuda_already_is_told(sees: Sees) -> None:
    sees(None).cuInit(0)
    with pytest.raises(UsageError, match=f"uses cuda:0 already; set {VARIABLE}=1 before"):
        settle("cuda:1")
    assert VARIABLE not in os.environ


def test_commands_and_python_take_it(sees: Sees) -> None:
    sees(None)
    done = CliRunner().invoke(app, ["upscale", "nothing.png", "--device", "cuda:9"])
    assert "there is no GPU cuda:9 here" in str(done.exception)
    with pytest.raises(UsageError, match="there is no GPU cuda:9 here"):
        Upscaler(device="cuda:9")
    assert named_device("cuda:2") == Device.CUDA
    assert os.environ[VARIABLE] == "2"


def test_its_memory_is_asked_for_by_its_place_on_the_bus(
    sees: Sees, monkeypatch: pytest.MonkeyPatch
) -> None:
    sees("2")
    asked: list[object] = []
    monkeypatch.setattr(auto_tile, "gpu_memory", lambda *how: asked.append(how))
    assert auto_tile._free(gpu=True) > 0
    assert asked == [("free", "00000000:02:00.0")]


@pytest.mark.parametrize(
    ("told", "device", "names", "text"),
    [
        (None, "cuda:all", GPUS, "cuda:all"),
        ("2,0", "cuda:all", ("NVIDIA H200", "NVIDIA L4"), "cuda:all"),
        ("1", "cuda:all", ("NVIDIA L40S",), "cuda"),
        (None, "cuda:0,cuda:2", ("NVIDIA L4", "NVIDIA H200"), "cuda:0,cuda:2"),
        (None, "cuda:2, cuda:1", ("NVIDIA H200", "NVIDIA L40S"), "cuda:2,cuda:1"),
        ("2,1,0", "cuda:0,cuda:2", ("NVIDIA H200", "NVIDIA L4"), "cuda:0,cuda:2"),
        (None, "cuda", GPUS[:1], "cuda"),
    ],
)
def test_several_are_the_first_that_are_visible_then(
    sees: Sees, told: str | None, device: str, names: tuple[str, ...], text: str
) -> None:
    sees(told)
    devices = settle_all(device)
    assert devices == Devices("cuda", len(names), text) and devices.on_gpu
    assert tuple(map(driver.local_gpu_name, range(len(names)))) == names
    assert settle_all(text) == devices  # a command settles, and so does what it calls
    assert driver.local_gpu_name(3) is None


def test_a_process_that_uses_cuda_already_may_take_the_first_of_them(sees: Sees) -> None:
    sees(None).cuInit(0)
    assert settle_all("cuda:0,cuda:1").count == 2
    assert settle_all("cuda:all").count == 3
    with pytest.raises(UsageError, match="cuda:0,cuda:2 cannot be chosen any more"):
        settle_all("cuda:0,cuda:2")
    with pytest.raises(UsageError, match="there is no GPU cuda:0,cuda:1,cuda:2,cuda:3 here"):
        settle_all("cuda:0,cuda:1,cuda:2,cuda:3")
    assert VARIABLE not in os.environ


def test_those_that_were_chosen_stay(sees: Sees) -> None:
    sees(None)
    assert settle_all("cuda:1,cuda:2").count == settle_all("cuda:all").count == 2
    assert settle("cuda") == "cuda"
    with pytest.raises(UsageError, match=r"cuda:0,cuda:1 cannot be .* uses cuda:1,cuda:2 already"):
        settle_all("cuda:0,cuda:1")


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("cuda:0,cuda:3", "there is no GPU cuda:0,cuda:3 here"),
        ("cuda:1,cuda:1", "a GPU is named twice"),
        ("cpu,cuda:0", "name GPUs or the CPU, not both"),
        ("cuda:all,cpu", "name GPUs or the CPU, not both"),
        ("cuda:0,", "several as cuda:all, cuda:0,cuda:1 or cpu,cpu"),
        ("cuda,cuda:1", "use cpu, cuda, or a GPU by number"),
        (",".join(["cpu"] * 300), "300 engines on the CPU; at most 256"),
    ],
)
def test_lists_that_make_no_sense_are_refused(sees: Sees, device: str, says: str) -> None:
    sees(None)
    with pytest.raises(UsageError, match=says):
        settle_all(device)
    assert VARIABLE not in os.environ


def test_without_a_gpu_all_of_them_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_library", lambda: None)
    with pytest.raises(UsageError, match="there is no GPU here for cuda:all"):
        settle_all("cuda:all")


def test_upscale_takes_several_and_other_commands_one(sees: Sees) -> None:
    sees(None)
    assert named_devices("cuda:all") == "cuda:all"
    assert named_devices("cpu,cpu") == "cpu,cpu"
    for device in ("cuda:all", "cuda:0,cuda:1", "cpu,cpu"):
        for command in ("verify", "bench", "evaluate"):
            done = CliRunner().invoke(app, [command, "--device", device])
            assert f"device {device}: name one device here" in str(done.exception)


def test_the_free_memory_is_that_of_the_gpu_with_the_least(
    sees: Sees, monkeypatch: pytest.MonkeyPatch
) -> None:
    sees(None)
    free = {"00000000:00:00.0": 8, "00000000:01:00.0": 2, "00000000:02:00.0": 4}
    monkeypatch.setattr(auto_tile, "gpu_memory", lambda field, address: free[address])
    assert auto_tile._free(gpu=True, engines=3) == 1
    assert auto_tile._free(gpu=True) == 4
    assert auto_tile._free(gpu=False, engines=4) < auto_tile._free(gpu=False)


def test_an_engine_is_opened_and_tested_on_each(
    sees: Sees, monkeypatch: pytest.MonkeyPatch
) -> None:
    sees(None)
    opened: list[tuple[str, int, int]] = []
    tested: list[dict[str, object]] = []

    def note(artifact: Artifact, device: str, *how: object) -> Engine:
        assert isinstance(how[-1], int)
        opened.append((device, how[-1], threading.get_ident()))
        return IdentityEngine()

    monkeypatch.setattr(engines, "_open", note)
    monkeypatch.setattr(self_test, "require", lambda *_, **how: tested.append(how))
    artifact = zoo.find(zoo.DEFAULT).artifact
    with engines.open_artifact(artifact, device="cuda:1,cuda:2") as engine:
        assert count_of(engine) == 2
    assert [(device, gpu) for device, gpu, _ in opened] == [("cuda", 0), ("cuda", 1)]
    assert len({thread for *_, thread in opened} - {threading.get_ident()}) == 2
    assert [how["gpu"] for how in tested] == [0, 1]


def test_a_test_is_remembered_for_the_gpu_that_passed_it(sees: Sees) -> None:
    sees(None)
    artifact = zoo.find(zoo.DEFAULT).artifact
    known = [self_test._known_by(IdentityEngine(), artifact, gpu) for gpu in (0, 1, None)]
    assert [found["computed by"][0] for found in known[:2]] == ["NVIDIA L4", "NVIDIA L40S"]
    assert "NVIDIA" not in known[2]["computed by"][0]
