"""How pycuda's stack of contexts is kept, with a stand-in that aborts as the real one does; and the
real one, where it is installed, on a driver that stands in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
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


BUILT = """
import numpy as np
from hat_deploy.engines.cuda.base import GPU, CudaError
from hat_deploy.engines.cuda.pycuda import PyCuda

first, device = PyCuda(), PyCuda()
assert device.gpu == GPU("NVIDIA Imaginary", "sm89"), device.gpu
assert device.memory() == (1 << 30, 1 << 30)
source, target = device.allocate_pinned(4096), device.allocate_pinned(4096)
source[:] = np.arange(4096) % 251
address, stream = device.allocate(4096), device.create_stream()
device.copy_in(address, source, stream)
device.copy_out(target, address, stream)
device.synchronize(stream)
assert np.array_equal(source, target)
try:
    device.allocate(1 << 31)
except CudaError as error:
    assert error.out_of_memory, error
else:
    raise AssertionError("there is no such memory")
device.destroy_stream(stream)
device.free(address)
device.free_pinned(source)
device.free_pinned(target)
device.close()
print("ok", flush=True)
"""


@pytest.fixture
def stand_in_driver(tmp_path: Path) -> Path:
    """A folder with a ``libcuda.so.1`` for the pycuda that is installed."""
    spec = find_spec("pycuda")
    compiler, symbols = shutil.which("gcc"), shutil.which("nm")
    if spec is None or spec.origin is None or not (compiler and symbols):
        pytest.skip("pycuda is not installed, or there is no gcc and no nm")
    (library,) = Path(spec.origin).parent.glob("_driver*.so")
    source = Path(__file__).with_name("stand_in_driver.c").read_text(encoding="utf-8")
    listed = subprocess.run([symbols, "-D", "-u", library], capture_output=True, text=True)
    linked = re.findall(r"\bcu[A-Z]\w+", listed.stdout)
    others = [name for name in linked if not re.search(rf"\b{name}\b", source)]
    source += "".join(f"int {name}(void) {{ return 801; }}\n" for name in others)
    (tmp_path / "driver.c").write_text(source, encoding="utf-8")
    made = ["-o", str(tmp_path / "libcuda.so.1"), "-Wl,-soname,libcuda.so.1"]
    subprocess.run([compiler, "-shared", "-fPIC", tmp_path / "driver.c", *made], check=True)
    return tmp_path


def test_the_library_itself_on_a_driver_that_stands_in(stand_in_driver: Path) -> None:
    """With pycuda as it was built: contexts, memory, copies, and an engine that is not closed."""
    done = subprocess.run(
        [sys.executable, "-c", BUILT],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"LD_LIBRARY_PATH": str(stand_in_driver)},
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
