"""What is read off ``nvidia-smi``, whatever it answers: a program of that name comes first."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hat_deploy import machine
from hat_deploy.machine import InstalledGPU

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")

Answers = Callable[[str], None]


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Makes ``nvidia-smi`` a shell script."""

    def install(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return install


def test_gpus_are_named(answers: Answers) -> None:
    answers("echo 'NVIDIA L4, 580.65, 23034'; echo 'NVIDIA L4, 580.65, 23034'")
    gpu = InstalledGPU(name="NVIDIA L4", driver="580.65", memory_mib=23034)
    assert machine.examine().gpus == (gpu, gpu)


def test_memory_that_is_not_told_is_none(answers: Answers) -> None:
    answers("echo 'NVIDIA GB10, 580.65, [N/A]'")
    (gpu,) = machine.examine().gpus
    assert gpu == InstalledGPU(name="NVIDIA GB10", driver="580.65", memory_mib=None)
    assert machine.examine().to_dict()["gpus"][0]["memory_mib"] is None


@pytest.mark.parametrize(
    "script",
    [
        ":",
        "echo",
        "echo No devices were found",
        "echo 'NVIDIA L4, 580.65'",
        "echo 'a, b, c, d'",
        "head -c 4096 /dev/zero",
        r"printf '\377\376\n\200'",
        "echo 'NVIDIA L4, 580.65, 23034'; exit 9",
        "kill -9 $$",
    ],
)
def test_what_is_no_answer_is_no_gpu(answers: Answers, script: str) -> None:
    answers(script)
    assert machine.examine().gpus == ()


@pytest.mark.parametrize(
    ("said", "expected"),
    [("512", 512 * 2**20), ("[N/A]", None), ("[Not Supported]", None), ("", None), ("5.5", None)],
)
def test_free_memory_is_bytes_or_unknown(answers: Answers, said: str, expected: int | None) -> None:
    answers(f"echo '{said}'; echo 7")
    assert machine.gpu_memory("free") == expected


def test_the_gpu_at_an_address_is_asked(answers: Answers) -> None:
    answers('case "$*" in *--id=00000000:65:00.0*) echo 7;; *) echo 5; echo 7;; esac')
    assert machine.gpu_memory("free", "00000000:65:00.0") == 7 * 2**20
    assert machine.gpu_memory("free") == 5 * 2**20


def test_one_that_hangs_is_given_up(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answers("sleep 600 & echo 'NVIDIA L4, 580.65, 23034'; sleep 600")
    monkeypatch.setattr(machine, "PATIENCE", 0.3)
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(machine.examine().gpus), daemon=True)
    asking.start()
    asking.join(120)
    assert found == [()]


def test_without_the_program_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.examine().gpus == ()
    assert machine.gpu_memory("free") is None
