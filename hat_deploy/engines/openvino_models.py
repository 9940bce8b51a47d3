"""The models that OpenVINO compiles of one artifact: kept on disk, and two at a time in memory."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hat_deploy.artifact import Artifact
from hat_deploy.cache import cache_folder, find, keep
from hat_deploy.errors import ArtifactError, UsageError, needed_for
from hat_deploy.files import sha256

with needed_for("Running an .onnx artifact in OpenVINO"):
    import openvino as ov

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Compiled:
    """A model, and room for as many batches as are computed side by side."""

    model: ov.CompiledModel
    requests: list[ov.InferRequest]


KEPT = 2
"""Models of one input shape that stay in memory: images upright and lying."""


class CompiledModels:
    """What is compiled of an artifact, made when first asked for.

    Args:
        artifact: an ``.onnx``.
        settings: of the CPU plugin.
        streams: batches computed side by side.
    """

    def __init__(self, artifact: Artifact, settings: dict[str, Any], streams: int) -> None:
        self._artifact = artifact
        self._settings = settings
        self._streams = streams
        self._open: Compiled | None = None
        self._of_shape: dict[Shape, Compiled] = {}

    def get(self, shape: Shape | None) -> Compiled:
        """The model for one input shape; None: as it is in the file, fixed or of any size.

        Raises:
            ArtifactError: OpenVINO refuses it.
        """
        if shape is None:
            if self._open is None:
                self._open = self._compiled(None)
            return self._open
        found = self._of_shape.pop(shape, None)
        if found is None:
            while len(self._of_shape) >= KEPT:
                del self._of_shape[next(iter(self._of_shape))]
            found = self._compiled(shape)
        self._of_shape[shape] = found
        return found

    def clear(self) -> None:
        """Let go of all."""
        self._open = None
        self._of_shape.clear()

    def _compiled(self, shape: Shape | None) -> Compiled:
        artifact = self._artifact
        try:
            model = _load(artifact.path, artifact.sha256, self._settings, shape)
            requests = [model.create_infer_request() for _ in range(self._streams)]
            _requests.update(requests)
            return Compiled(model, requests)
        except RuntimeError as error:
            reason = last_line(error)
            raise ArtifactError(f"OpenVINO cannot load {artifact.path}: {reason}") from error


_requests: weakref.WeakSet[ov.InferRequest] = weakref.WeakSet()
"""All of this process."""


def _never_destroy() -> None:
    """In a forked process: destroying a request would wait for threads that are not there."""
    for request in _requests:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(request))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_never_destroy)


def last_line(error: RuntimeError) -> str:
    """What OpenVINO says behind its own file names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _load(
    path: Path, digest: str, settings: dict[str, Any], shape: tuple[int, ...] | None
) -> ov.CompiledModel:
    """The model, compiled once for these settings on this processor and kept in the cache.

    Not by OpenVINO's ``CACHE_DIR``: it knows a file by its path, size and second of change, and
    runs what it kept without looking whether it is whole.

    Args:
        path: an ``.onnx``.
        digest: its SHA-256.
        shape: of its input, where the file leaves it open; None compiles it as it is.

    Raises:
        ArtifactError: the file is being changed.
        RuntimeError: OpenVINO refuses it.
    """
    core = ov.Core()
    made_from = {
        "artifact": digest,
        "openvino": ov.get_version(),
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "instructions": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "settings": settings,
    }
    if shape is not None:
        made_from["shape"] = shape
    if kept := _load_kept(core, made_from, settings):
        return kept
    graph = core.read_model(path)
    if shape is not None:
        graph.reshape(list(shape))
    model = core.compile_model(graph, "CPU", settings)
    if sha256(path) != digest:
        raise ArtifactError(f"{path} was changed while it was loaded: start again")
    _keep(model, made_from)
    return model


def _load_kept(
    core: ov.Core, made_from: dict[str, Any], settings: dict[str, Any]
) -> ov.CompiledModel | None:
    try:
        blob = find(made_from, ".blob")
        if blob is None:
            return None
        compiled = io.BytesIO(blob.read_bytes())
    except (OSError, UsageError):  # another process removed it, or there is no cache
        return None
    try:
        return core.import_model(compiled, "CPU", settings)
    except RuntimeError:  # it is what was written, and still of no use
        with suppress(OSError):
            blob.unlink()
        return None


def _keep(model: ov.CompiledModel, made_from: dict[str, Any]) -> None:
    try:
        keep(made_from, ".blob", lambda path: path.write_bytes(_exported(model)))
    except (OSError, UsageError) as error:
        reason = str(error)
        if isinstance(error, OSError):
            reason = (
                f"the cache folder {cache_folder()} cannot be written ({error.strerror}): "
                "set HAT_DEPLOY_CACHE to one that can"
            )
        _tell(f"OpenVINO compiles the model again at each start, for {reason}")


def _exported(model: ov.CompiledModel) -> bytes:
    stream = io.BytesIO()
    model.export_model(stream)
    return stream.getvalue()


@cache
def _tell(note: str) -> None:
    """Once, on stderr unless the program sends this package's log elsewhere."""
    logging.getLogger("hat_deploy").warning("note: %s", note)
