"""Ctrl-C at many moments: real processes, exit code 130, one line, nothing half done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import interrupts
import pytest

ROOT = Path(__file__).parents[2]
START = """
import os, signal, sys, time
from hat_deploy.cli import interrupts, main
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def tiny_checkpoint(shallow_checkpoint: Path) -> Path:
    """One that is exported in half the time."""
    return shallow_checkpoint


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=interrupts.default,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


AT_IMPORT = """
class Count:
    left = int(sys.argv.pop(1))
    def find_spec(self, name, path=None, target=None):
        Count.left -= 1
        if Count.left == 0:
            interrupt()
sys.meta_path.insert(0, Count())
main()
"""


@pytest.mark.parametrize("number", [2, 40, 150, 400])
def test_within_an_import(number: int, tmp_path: Path, tiny_checkpoint: Path) -> None:
    target = tmp_path / "tiny.onnx"
    arguments = (number, "export", tiny_checkpoint, "-o", target, "--tile", "16")
    assert end(child(AT_IMPORT, *arguments)) == (130, "", "interrupted\n")
    assert list(tmp_path.glob("*.onnx")) == []


SLOW = [pytest.param(number, marks=pytest.mark.slow) for number in (700, 1500, 2300)]
SLOWEST = [
    pytest.param(number, marks=pytest.mark.slowest) for number in (1000, 1300, 1700, 1900, 2100)
]


@pytest.mark.parametrize("number", [*SLOW, *SLOWEST])
def test_within_a_late_import(number: int, tmp_path: Path, tiny_checkpoint: Path) -> None:
    """The last ones come while the network is traced, which imports what it needs."""
    target = tmp_path / "tiny.onnx"
    arguments = (number, "export", tiny_checkpoint, "-o", target, "--tile", "16")
    assert end(child(AT_IMPORT, *arguments)) == (130, "", "interrupted\n")
    assert list(tmp_path.glob("*.onnx")) == []


WHILE = """
from hat_deploy.cli import info
import hat_deploy.artifact.info
def examine(name):
    {body}
hat_deploy.artifact.info.examine = examine
main()
"""


@pytest.mark.parametrize(
    "body",
    [
        # Printed and forgotten by Python itself.
        """
    class Trap:
        def __del__(self):
            interrupt()
            len("")
    Trap()
    time.sleep(600)""",
        # Caught by a library.
        """
    try:
        interrupt()
    except BaseException:
        pass
    time.sleep(600)""",
        # Turned into another error.
        """
    try:
        interrupt()
    except BaseException:
        pass
    raise ImportError("KeyboardInterrupt: <NULL>")""",
        # Turned into success.
        """
    try:
        interrupt()
    except BaseException:
        pass
    sys.exit(0)""",
    ],
)
def test_it_is_never_lost(body: str) -> None:
    assert end(child(WHILE.format(body=body), "info", "x")) == (130, "", "interrupted\n")


def test_what_cleans_up_is_let_finish() -> None:
    body = """
    interrupts.AGAIN_AFTER = 0.01
    def generator():
        try:
            yield
        finally:
            time.sleep(0.2)
            print("closed", flush=True)
    from contextlib import closing
    with closing(generator()) as running:
        next(running)
        try:
            interrupt()
        finally:
            time.sleep(0.2)
            print("cleaned", flush=True)"""
    code, out, err = end(child(WHILE.format(body=body), "info", "x"))
    assert (code, out, err) == (130, "cleaned\nclosed\n", "interrupted\n")


def test_a_second_one_ends_it_at_once() -> None:
    body = """
    try:
        interrupt()
    finally:
        print("cleaning", flush=True)
        while True:
            time.sleep(600)"""
    process = child(WHILE.format(body=body), "info", "x")
    assert process.stdout is not None
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "", "interrupted\n")


def test_a_second_one_ends_what_does_not_see_signals() -> None:
    """The main thread waits in C, as while a library computes, and goes back to it."""
    body = """
    import ctypes
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(256)
    libc.pthread_mutex_init(mutex, None)
    libc.pthread_mutex_lock(mutex)
    os.write(1, b"computing\\n")
    while True:
        try:
            libc.pthread_mutex_lock(mutex)
        except KeyboardInterrupt:
            pass
"""
    process = child(WHILE.format(body=body), "info", "x")
    assert process.stdout is not None
    assert process.stdout.readline() == "computing\n"
    sent = 0
    while process.poll() is None and sent < 1000:  # signals sent at once would count as one
        process.send_signal(signal.SIGINT)
        sent += 1
        time.sleep(0.3)
    assert end(process) == (130, "", "interrupted\n")


def test_after_the_work_is_done() -> None:
    """Threads that are still waited for at the end do not print a traceback."""
    code = """
import threading
def linger():
    threading.main_thread().join()
    interrupt()
    time.sleep(600)
threading.Thread(target=linger).start()
sys.argv[1:] = ["--version"]
main()
"""
    code, _, err = end(child(code))
    assert (code, err) == (130, "interrupted\n")


def test_where_it_is_ignored_it_stays_ignored() -> None:
    body = """
    interrupt()
    print("went on", flush=True)
    sys.exit(0)"""
    process = subprocess.Popen(
        [sys.executable, "-c", START + WHILE.format(body=body), "info", "x"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.communicate(timeout=300)[0] == "went on\n"
    assert process.returncode == 0


def test_a_sigterm_is_answered_too() -> None:
    body = """
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)"""
    assert end(child(WHILE.format(body=body), "info", "x")) == (143, "", "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_says_what_became_of_everything(number: int, tmp_path: Path) -> None:
    """Its first image is done, the others are told as not tried, in the report too."""
    code = """
import cv2, numpy
from fakes import IdentityEngine
from hat_deploy import api
class Slow(IdentityEngine):
    def run(self, batch):
        if self.calls:
            while not os.path.exists(f"{sys.argv[2]}-x2/a.png"):
                time.sleep(0.01)
            os.write(1, b"working\\n")
            time.sleep(600)
        return super().run(batch)
def upscaler(*_, **__):
    return opened
opened = api.Upscaler(Slow())
api.Upscaler = upscaler
for name in "abc":
    cv2.imwrite(f"{sys.argv[2]}/{name}.png", numpy.zeros((8, 8, 3), numpy.uint8))
main()
"""
    folder, report = tmp_path / "in", tmp_path / "report.jsonl"
    folder.mkdir()
    process = child("sys.path[:0] = ['tests']" + code, "upscale", folder, "--report", report)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(number)
    exit_code, out, err = end(process)
    assert exit_code == 128 + number
    assert out.startswith("1 upscaled, 0 skipped (results exist), 2 not processed")
    assert "2 not tried: the run was interrupted" in err and err.endswith("interrupted\n")
    outcomes = [json.loads(line)["outcome"] for line in report.read_text().splitlines()]
    assert outcomes == ["done", "not tried", "not tried"]
