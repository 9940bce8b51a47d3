"""How pycuda's stack of contexts is kept, with a stand-in that aborts as the real one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = """
import atexit, os, sys, types

stack = []

class Context:
    def push(self):
        stack.append(self)

    def pop(self):
        stack.pop()

    def detach(self):
        stack.append(self)

class Device:
    made = 0

    def __init__(self, number):
        Device.made += 1

    def retain_primary_context(self):
        return Context()

    def compute_capability(self):
        return 8, 9

    def name(self):
        return "NVIDIA Imaginary"

def end():
    if stack:
        os._exit(134)

atexit.register(end)
driver = types.ModuleType("pycuda.driver")
driver.Device, driver.init = Device, lambda: None
driver.Error = type("Error", (Exception,), {})
driver.MemoryError = type("MemoryError", (driver.Error,), {})
pycuda = types.ModuleType("pycuda")
pycuda.driver, pycuda.VERSION_TEXT = driver, "0"
sys.modules |= {"pycuda": pycuda, "pycuda.driver": driver}
from hat_deploy.engines.cuda.pycuda import PyCuda
"""


@pytest.mark.parametrize(
    ("code", "contexts"),
    [
        ("a = PyCuda()", 1),
        ("a, b = PyCuda(), PyCuda()", 2),
        ("a, b = PyCuda(), PyCuda(); a.close()", 1),
        ("a, b = PyCuda(), PyCuda(); a.close(); b.close(); b.close()", 0),
        ("[PyCuda().close() for _ in range(3)]", 0),
    ],
    ids=["unclosed", "two unclosed", "one closed", "closed twice", "one after the other"],
)
def test_the_process_ends_well_and_has_one_context(code: str, contexts: int) -> None:
    script = f"{STAND_IN}\n{code}\nprint(len(stack), Device.made, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (0, f"{contexts} 1\n"), done.stderr
