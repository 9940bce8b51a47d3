"""The machine of a run, as a page lists it."""

from __future__ import annotations

from typing import Any


def machine(hardware: dict[str, Any], versions: dict[str, str]) -> dict[str, object]:
    """Hardware and versions as a page lists them; as :mod:`hat_deploy.machine` tells them."""
    memory = hardware["memory_bytes"]
    gpus = ", ".join(f"{gpu['name']} (driver {gpu['driver']})" for gpu in hardware["gpus"])
    return {
        "CPU": f"{hardware['cpu']}, cores: {hardware['cores']}",
        "memory": "unknown" if memory is None else f"{memory / 1e9:.1f} GB",
        "GPU": gpus or "none",
        "system": hardware["system"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
