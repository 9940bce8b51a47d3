"""How much memory there is to take."""

from __future__ import annotations

from pathlib import Path

from hat_deploy.hardware import examine

FALLBACK = 4 * 2**30
"""Where nothing can be found out."""


def available() -> int:
    """Bytes this process could still allocate without swapping, cgroup limits included."""
    found = [n for n in (_free(), _left_in_cgroup()) if n is not None]
    return max(1, min(found)) if found else examine().memory_bytes or FALLBACK


def _free() -> int | None:
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
    root = Path("/sys/fs/cgroup")
    try:
        line = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().splitlines()[-1]
        folder = root / line.split(":", 2)[2].lstrip("/")
    except (OSError, IndexError):
        return None
    left = []
    for place in [folder, *folder.parents]:
        if root not in (place, *place.parents):
            break
        try:
            limit = int((place / "memory.max").read_text())
            left.append(limit - int((place / "memory.current").read_text()))
        except (OSError, ValueError):  # no such control here, or "max"
            continue
    return min(left, default=None)
