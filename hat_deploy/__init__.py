"""hat-deploy: HAT super-resolution from checkpoint to engine, every artifact checked.

``Upscaler`` upscales arrays, files and folders. With an artifact it needs neither torch nor a
checkpoint, only the engine's library. ``Done``, ``Skipped`` and ``Failed`` are what became of an
image of a folder, ``TargetSize`` is the size that results are to have, ``HatDeployError`` is what
all errors are. The command line, ``hat-deploy --help``, covers the rest.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from hat_deploy.version import __version__

__all__ = [
    "Done",
    "Failed",
    "HatDeployError",
    "Skipped",
    "TargetSize",
    "Upscaler",
    "__version__",
]

if TYPE_CHECKING:
    from hat_deploy.api import Upscaler
    from hat_deploy.errors import HatDeployError
    from hat_deploy.folders import Done, Failed, Skipped
    from hat_deploy.tiles.target_size import TargetSize


def _switch_telemetry_off() -> None:
    """Keep the libraries beside this package from reporting on their users.

    Left to itself, OpenVINO sends a persistent id to an analytics service each time it is
    imported and writes ``~/intel``; ONNX Runtime keeps a device id and what it observes below
    ``~/.cache``; huggingface_hub tells the hub what else is installed. A program that has loaded
    OpenVINO's reporter already, and a user who has set ``ORT_DISABLE_TELEMETRY`` or
    ``HF_HUB_DISABLE_TELEMETRY``, have chosen: they are left alone.
    """
    absent = cast(ModuleType, None)  # importing such a module fails, which OpenVINO allows for
    sys.modules.setdefault("openvino_telemetry", absent)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


_PUBLIC = {
    "Upscaler": "hat_deploy.api",
    "Done": "hat_deploy.folders",
    "Failed": "hat_deploy.folders",
    "Skipped": "hat_deploy.folders",
    "HatDeployError": "hat_deploy.errors",
    "TargetSize": "hat_deploy.tiles.target_size",
}
"""The module of each public name."""

_switch_telemetry_off()  # before any module of ours imports one of them


def __getattr__(name: str) -> Any:
    """The public names, imported when they are asked for."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hat_deploy' has no attribute '{name}'")
