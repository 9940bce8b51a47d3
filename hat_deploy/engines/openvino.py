"""Run an ``.onnx`` artifact with OpenVINO on the CPU: the fastest engine there, in fp32 or bf16."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hat_deploy.artifact import Artifact, Description
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
from hat_deploy.engines.openvino_models import CompiledModels, last_line
from hat_deploy.errors import ArtifactError, UsageError, needed_for
from hat_deploy.precision import OPENVINO, Precision

with needed_for("Running an .onnx artifact in OpenVINO"):
    import openvino as ov


SHARED_UP_TO = 2**17
"""Pixels of the largest tile for which the model of all sizes is used."""


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
        require_instructions(self._precision)
        settings = _settings(self._precision, threads, streams)
        self._models = CompiledModels(artifact, settings, streams)
        self._own_model = self.description.any_size
        own = ports_of(self.description).inputs[0]
        # What is compiled now and checked is the open model, which small images share; where the
        # artifact's own tile is small, it is that tile's.
        small = self._own_model and own.size[0] * own.size[1] <= SHARED_UP_TO
        model = self._models.get(own.shape if small else None).model
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

    @property
    def name(self) -> str:
        """Library, version, device and the precision it computes in."""
        version = ov.__version__.split("-")[0]
        return f"openvino {version}, cpu, {self._precision}"

    def _stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """As many batches at a time as there are streams."""
        compiled = self._models.get(self.input.shape if self._own_model else None)
        rooms = [_Request(request, self._ports, *self._places) for request in compiled.requests]
        return keep_in_flight(rooms, batches)

    def at(self, size: tuple[int, int], *, many: bool = False) -> OpenVINOEngine | None:
        """The same for tiles of another size, where the graph takes any.

        Small tiles of all sizes share one model. It is up to a fifth slower than one compiled for
        its size, and takes twice the memory for a tile; compiling takes a second or more.
        """
        if not self.description.any_size:
            return None
        other = copy.copy(self)
        other._ports = self._ports.at(size)
        other._own_model = many or size[0] * size[1] > SHARED_UP_TO
        return other

    def close(self) -> None:
        """Let go of what was loaded."""
        self._models.clear()


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


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ArtifactError(f"OpenVINO failed: {last_line(error)}") from error


def _own_precision(description: Description) -> str:
    return Precision.BF16 if description.precision == Precision.BF16 else Precision.FP32


def supports(precision: str) -> bool:
    """Whether this CPU has instructions for a precision, ``fp32`` or ``bf16``."""
    return precision.upper() in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def require_instructions(precision: str) -> None:
    """Refuse a precision that is not computed in here.

    Raises:
        UsageError: OpenVINO does not, or this CPU has no instructions for it.
    """
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


def _declared(port: ov.Output) -> Declared:
    shape = port.partial_shape
    lengths: list[object] = [str(shape)]
    if shape.rank.is_static:
        lengths = [side.get_length() if side.is_static else str(side) for side in shape]
    return Declared(port.any_name, lengths, port.element_type.to_dtype().name)
