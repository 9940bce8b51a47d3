"""Peak memory of one engine call: in a child process, one engine to a process.

The host figure is the largest resident set of a process that loads the engine's library, opens
the engine and runs one batch: Linux's ``VmHWM``, which starts at zero with the process. The
device figure is what the GPU has less to give once the batch is done and the engine still open,
everything included: the CUDA context, weights, and whatever pool the library keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hat_deploy.bench.children import ChildDied, in_child
from hat_deploy.bench.contenders import Contender
from hat_deploy.engines.base import Array, TensorSpec
from hat_deploy.engines.cuda.driver import local_gpu_address
from hat_deploy.machine import gpu_memory

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Bytes; None where this system does not tell."""

    host_before: int | None
    """Resident before the engine is opened: Python and this package."""
    host_peak: int | None
    """Largest ever resident, library, weights and one call included."""
    device: int | None
    """On the GPU; None for an engine on the CPU."""


def measure_memory(contender: Contender, threads: int) -> PeakMemory | None:
    """Run one batch in a child process; None if it died, as when memory runs out."""
    try:
        return in_child(_observe, contender, threads, threads=threads)
    except ChildDied:
        return None


def random_batch(spec: TensorSpec) -> Array:
    """A seeded batch of an engine's input: [0, 1) or bytes."""
    rng = np.random.default_rng(0)
    if spec.dtype == "uint8":
        return rng.integers(0, 256, spec.shape, dtype=np.uint8)
    return rng.random(spec.shape, dtype=np.float32).astype(spec.dtype)


def _observe(contender: Contender, threads: int) -> PeakMemory:
    """Runs in the child."""
    on_device = contender.device == "cuda"
    host_before = _resident("VmRSS")
    address = local_gpu_address() if on_device else None
    device_before = gpu_memory("used", address) if on_device else None
    with contender.open(threads) as engine:
        engine.run(random_batch(engine.input))
        device_after = gpu_memory("used", address) if on_device else None
    device = None
    if device_before is not None and device_after is not None:
        device = device_after - device_before
    return PeakMemory(host_before=host_before, host_peak=_resident("VmHWM"), device=device)


def _resident(field: str) -> int | None:
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None
