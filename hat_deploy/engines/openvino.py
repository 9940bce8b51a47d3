"""Run an ``.onnx`` artifact with OpenVINO on the CPU: the fastest engine there, in fp32 or bf16."""

from __future__ import annotations

import copy
import ctypes
import io
import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hat_deploy.artifact import Artifact, Description
from hat_deploy.cache import cache_folder, find, keep
from hat_deploy.engines.averages import PortsEngine
from hat_deploy.engines.base import (
    Arrays,
    Declared,
    Ports,
    check_declared,
    check_result,
    ports_of,
)
from hat_deploy.engines.inflight import keep_in_flight
from hat_deploy.errors import ArtifactError, UsageError, needed_for
from hat_deploy.files import sha256
from hat_deploy.precision import OPENVINO, Precision

with needed_for("Running an .onnx artifact in OpenVINO"):
    import openvino as ov


class OpenVINOEngine(PortsEngine):
    """An :class:`~hat_deploy.engines.base.Engine` on OpenVINO's CPU plugin.

    Args:
        named: an artifact made by ``hat-deploy export``.
        precision: what to compute in, ``fp32`` or ``bf16``, whatever the artifact's own is; by
            default bf16 for an artifact in bf16, else fp32. Never chosen by the library, which
            would take bf16 wherever the CPU has it.
        threads: in all; one a core by default.
        streams: batches computed side by side, each on its share of the
            threads. Each takes the memory of a batch.

    Raises:
        ArtifactError: the file is damaged, foreign, or the library refuses it.
        UsageError: this CPU has no bf16 instructions.
    """

    def __init__(
        self,
        named: Path | Artifact,
        *,
        precision: str | None = None,
        threads: int | None = None,
        streams: int = 1,
    ) -> None:
        artifact = Artifact.of(named)
        path = artifact.path
        self.description = artifact.description
        self._precision = precision or _own_precision(self.description)
        _require_instructions(self._precision)
        self._artifact = artifact
        self._settings = _settings(self._precision, threads, streams)
        self._streams = streams
        self._of_any_size: list[ov.InferRequest] | None = None
        own = ports_of(self.description).inputs[0].shape if self.description.any_size else None
        model = self._compiled(own)
        self._window = self.description.window
        self._ports = check_declared(
            path,
            self.description,
            [_declared(port) for port in model.inputs],
            [_declared(port) for port in model.outputs],
        )
        declared = [port.any_name for port in (*model.inputs, *model.outputs)]
        split = len(model.inputs)
        self._places = (
            [declared[:split].index(spec.name) for spec in self._ports.inputs],
            [declared[split:].index(spec.name) for spec in self._ports.outputs],
        )
        self._requests = self._rooms(self._inferring(model))

    @property
    def name(self) -> str:
        """Library, version, device and the precision it computes in."""
        version = ov.__version__.split("-")[0]
        return f"openvino {version}, cpu, {self._precision}"

    def _stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """As many batches at a time as there are streams."""
        return keep_in_flight(self._requests, batches)

    def at(self, size: tuple[int, int]) -> OpenVINOEngine | None:
        """The same for tiles of another size, where the graph takes any.

        All other sizes share one model, compiled when the first is asked for. It is up to a fifth
        slower than one compiled for its size, which would take a second or more for each.
        """
        if not self.description.any_size:
            return None
        if self._of_any_size is None:
            self._of_any_size = self._inferring(self._compiled(None))
        other = copy.copy(self)
        other._ports = self._ports.at(size)
        other._requests = other._rooms(self._of_any_size)
        return other

    def _rooms(self, requests: Sequence[ov.InferRequest]) -> list[_Request]:
        return [_Request(request, self._ports, *self._places) for request in requests]

    def close(self) -> None:
        """Let go of what was loaded."""
        self._requests.clear()
        self._of_any_size = None

    def _compiled(self, shape: tuple[int, ...] | None) -> ov.CompiledModel:
        """The model for one input shape, or as open as it is in the file."""
        artifact = self._artifact
        try:
            return _load(artifact.path, artifact.sha256, self._settings, shape)
        except RuntimeError as error:
            reason = _last_line(error)
            raise ArtifactError(f"OpenVINO cannot load {artifact.path}: {reason}") from error

    def _inferring(self, model: ov.CompiledModel) -> list[ov.InferRequest]:
        made = [model.create_infer_request() for _ in range(self._streams)]
        _requests.update(made)
        return made


_requests: weakref.WeakSet[ov.InferRequest] = weakref.WeakSet()
"""All of this process."""


def _never_destroy() -> None:
    """In a forked process: destroying a request would wait for threads that are not there."""
    for request in _requests:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(request))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_never_destroy)


class _Request:
    """Room for one batch, computed by OpenVINO's own threads.

    Args:
        request: of a model.
        ports: what goes in and what comes out.
        inputs, outputs: the place of each of these in the model; names are not the same in
            every form of it.
    """

    def __init__(
        self, request: ov.InferRequest, ports: Ports, inputs: list[int], outputs: list[int]
    ) -> None:
        self._request = request
        self._ports = ports
        self._inputs = inputs
        self._outputs = outputs

    def submit(self, batch: Arrays) -> None:
        with _readable_errors():
            placed = dict(zip(self._inputs, batch, strict=True))
            self._request.start_async(placed, share_inputs=False)

    def collect(self) -> Arrays:
        with _readable_errors():
            self._request.wait()
        found = []
        for spec, place in zip(self._ports.outputs, self._outputs, strict=True):
            found.append(np.array(self._request.get_output_tensor(place).data))
            check_result(spec, found[-1])
        return tuple(found)

    def drain(self) -> None:
        self._request.wait()


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


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ArtifactError(f"OpenVINO failed: {_last_line(error)}") from error


def _own_precision(description: Description) -> str:
    return Precision.BF16 if description.precision == Precision.BF16 else Precision.FP32


def supports(precision: str) -> bool:
    """Whether this CPU has instructions for a precision, ``fp32`` or ``bf16``."""
    return precision.upper() in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _require_instructions(precision: str) -> None:
    if precision not in OPENVINO:
        raise UsageError(f"OpenVINO computes in {' or '.join(OPENVINO)}, not in {precision}")
    if not supports(precision):
        raise UsageError(
            "this CPU has no bf16 instructions (AVX512_BF16 or AMX): compute in fp32, "
            "which is faster here"
        )


def _settings(precision: str, threads: int | None, streams: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": Precision.of(precision).openvino,
        "NUM_STREAMS": streams,
        # Pinned threads of two processes share the first cores and leave the others idle.
        "ENABLE_CPU_PINNING": False,
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def _last_line(error: RuntimeError) -> str:
    """What OpenVINO says behind its own file names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _declared(port: ov.Output) -> Declared:
    shape = port.partial_shape
    lengths = list(shape.to_shape()) if shape.is_static else [str(shape)]
    return Declared(port.any_name, lengths, port.element_type.to_dtype().name)
