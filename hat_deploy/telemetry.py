"""Libraries that report on their users, kept from it: this package opens no connection."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import cast


def switch_off() -> None:
    """Keep OpenVINO and ONNX Runtime from reporting; to be called before either is imported.

    Left to itself, OpenVINO sends a persistent id to an analytics service each time it is
    imported and writes ``~/intel``; ONNX Runtime keeps a device id and what it observes below
    ``~/.cache``. A program that has loaded OpenVINO's reporter already, and a user who has set
    ``ORT_DISABLE_TELEMETRY``, have chosen: they are left alone.
    """
    absent = cast(ModuleType, None)  # importing such a module fails, which OpenVINO allows for
    sys.modules.setdefault("openvino_telemetry", absent)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
