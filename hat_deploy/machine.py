"""This machine: its processor, GPUs, memory and versions, and how much of them is free."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hat_deploy.errors import UsageError
from hat_deploy.version import __version__

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "tensorrt-rtx-cu13-libs",
    "spandrel",
)
"""Distributions whose versions a report names where they are installed."""

PATIENCE = 30.0
"""Seconds that ``nvidia-smi`` may take: it loads the driver where nothing else has."""
_LONGEST_ANSWER = 1 << 20
_ASSUMED_MEMORY = 4 * 2**30
"""Bytes, where nothing can be found out."""


@dataclass(frozen=True, kw_only=True)
class InstalledGPU:
    """An NVIDIA GPU of this machine, as its driver names it."""

    name: str
    driver: str
    memory_mib: int | None
    """None where the driver does not say, as where GPU and processor share it."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine."""

    cpu: str
    cores: int
    """That this process may use."""
    memory_bytes: int | None
    gpus: tuple[InstalledGPU, ...]
    system: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self) | {"gpus": [asdict(gpu) for gpu in self.gpus]}


def examine() -> Hardware:
    """Look at this machine; imports no library."""
    return Hardware(
        cpu=cpu_name(),
        cores=usable_cores(),
        memory_bytes=_total_memory(),
        gpus=_gpus(),
        system=f"{platform.system()} {platform.release()}",
    )


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Processes that ran or wanted to, averaged over the last minute; None on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def versions() -> dict[str, str]:
    """Python's, this tool's and those of the libraries that are installed."""
    found = {"python": platform.python_version(), "hat-deploy": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def available_memory() -> int:
    """Bytes this process could still allocate without swapping, cgroup limits included."""
    found = [n for n in (_free_memory(), _left_in_cgroup()) if n is not None]
    return max(1, min(found)) if found else _total_memory() or _ASSUMED_MEMORY


def total_memory() -> int:
    """Bytes that this process could have if nothing else ran, cgroup limits included."""
    physical = _total_memory() or _ASSUMED_MEMORY
    return min([physical, *(limit for limit, _ in _cgroups())])


def gpu_memory(field: str, address: str | None = None) -> int | None:
    """Bytes of memory of a GPU; None without one, or where the driver does not say.

    Args:
        field: ``free``, ``used`` or ``total``.
        address: of the GPU on its bus; None takes the first that ``nvidia-smi`` lists.
    """
    found = _query_gpus(f"memory.{field}", address=address)
    mib = _number(found[0][0]) if found else None
    return None if mib is None else mib * 2**20


def parse_bytes(option: str, text: str | None) -> int | None:
    """``512M``, ``4G`` or ``1.5GiB`` as bytes; a bare number is bytes.

    Args:
        option: or environment variable that it was given by, for the message.

    Raises:
        UsageError: it is none of these, or nothing.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([kmgt]?)(?:i?b)?", text.strip().lower())
    amount = int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")) if match else 0
    if amount < 1:
        raise UsageError(f"{option} {text}: write bytes, such as 512M or 4G")
    return amount


def cpu_name() -> str:
    """The processor, as the system calls it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _total_memory() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left_in_cgroup() -> int | None:
    """The tightest limit above this process, less what is used; None if there is none."""
    return min((limit - used for limit, used in _cgroups()), default=None)


def _cgroups() -> Iterator[tuple[int, int]]:
    """Limit and use of memory of each control group above this process that has a limit."""
    root = Path("/sys/fs/cgroup")
    try:
        line = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().splitlines()[-1]
        folder = root / line.split(":", 2)[2].lstrip("/")
    except (OSError, IndexError):
        return
    for place in [folder, *folder.parents]:
        if root not in (place, *place.parents):
            return
        try:
            limit = int((place / "memory.max").read_text())
            used = int((place / "memory.current").read_text())
        except (OSError, ValueError):  # no such control here, or "max"
            continue
        yield limit, used


def _gpus() -> tuple[InstalledGPU, ...]:
    return tuple(
        InstalledGPU(name=name, driver=driver, memory_mib=_number(memory))
        for name, driver, memory in _query_gpus("name", "driver_version", "memory.total")
    )


def _query_gpus(*fields: str, address: str | None = None) -> list[list[str]]:
    """A line of values for each GPU, or for the one at an address, from ``nvidia-smi``; empty where
    there is none, or where it does not answer. A value that it does not know is a word in brackets.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    command += [] if address is None else [f"--id={address}"]
    # Not a pipe: what nvidia-smi has started may hold it open for longer than it lives itself.
    with tempfile.TemporaryFile() as answer:
        try:
            child = subprocess.Popen(command, stdout=answer, stderr=subprocess.DEVNULL)
        except OSError:
            return []
        try:
            failed = child.wait(PATIENCE) != 0
        except subprocess.TimeoutExpired:
            failed = True
        finally:
            child.kill()
            with suppress(subprocess.TimeoutExpired):  # a driver that hangs may keep it for good
                child.wait(1)
        if failed:
            return []
        answer.seek(0)
        lines = answer.read(_LONGEST_ANSWER).decode("utf-8", "replace").splitlines()
    rows = [[value.strip() for value in line.split(",")] for line in lines]
    return [row for row in rows if len(row) == len(fields)]


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None
