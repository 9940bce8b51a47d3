"""Engines: something loaded that runs one fixed-shape batch.

``base`` is the seam; every other module wraps one library and is the only one to import it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hat_deploy.errors import ArtifactError

if TYPE_CHECKING:
    from hat_deploy.engines.base import Engine


def open_artifact(path: Path, *, device: str = "cpu", threads: int | None = None) -> Engine:
    """The engine for an artifact, chosen by its suffix.

    Args:
        path: ``.onnx``.
        device: ``cpu`` or ``cuda``.
        threads: of one call on a CPU; all cores by default.

    Raises:
        ArtifactError: the file is missing, damaged, foreign, or not for this machine.
        MissingExtraError: the library that runs it is not installed.
    """
    if path.suffix.lower() == ".onnx":
        from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(path, device=device, threads=threads)
    raise ArtifactError(
        f"{path} has the suffix {path.suffix or '(none)'}; an artifact ends in .onnx"
    )
