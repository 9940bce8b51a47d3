"""Run an ``.onnx`` artifact with OpenVINO on the CPU: the fastest engine there, in fp32 or bf16."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hat_deploy import artifact
from hat_deploy.cache import cache_folder
from hat_deploy.engines.base import Array, EngineBase, TensorSpec, check_batch
from hat_deploy.engines.inflight import keep_in_flight
from hat_deploy.errors import ArtifactError, MissingExtraError, UsageError

try:
    import openvino as ov
except ImportError as error:
    raise MissingExtraError("openvino", "cpu", "Running an .onnx artifact in OpenVINO") from error

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""What the engine computes in, and OpenVINO's name for it."""


class OpenVINOEngine(EngineBase):
    """An :class:`~hat_deploy.engines.base.Engine` on OpenVINO's CPU plugin.

    Args:
        path: an artifact made by ``hat-deploy export``.
        precision: what to compute in, ``fp32`` or ``bf16``, whatever the artifact's own is; by
            default bf16 for an artifact in bf16, else fp32. Never chosen by the library, which
            would take bf16 wherever the CPU has it.
        threads: in all; one a core by default.
        streams: batches computed side by side by :meth:`stream`, each on its share of the
            threads. Each takes the memory of a batch.

    Raises:
        ArtifactError: the file is damaged, foreign, or the library refuses it.
        UsageError: this CPU has no bf16 instructions.
    """

    def __init__(
        self,
        path: Path,
        *,
        precision: str | None = None,
        threads: int | None = None,
        streams: int = 1,
    ) -> None:
        self.description = artifact.describe(path)
        self._precision = precision or _own_precision(self.description)
        _require_instructions(self._precision)
        try:
            model = ov.Core().compile_model(
                path, "CPU", _settings(self._precision, threads, streams)
            )
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO cannot load {path}: {_last_line(error)}") from error
        layout = "NHWC" if self.description.io == "uint8" else "NCHW"
        self._window = self.description.window
        self._input = _spec(model.inputs[0], layout)
        self._output = _spec(model.outputs[0], layout)
        self._requests = [_Request(model, self._input) for _ in range(streams)]

    @property
    def name(self) -> str:
        """Library, version, device and the precision it computes in."""
        version = ov.__version__.split("-")[0]
        return f"openvino {version}, cpu, {self._precision}"

    def run(self, batch: Array) -> Array:
        """Upscale one batch; see :class:`~hat_deploy.engines.base.Engine`."""
        return next(self.stream([batch]))

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        """Upscale batch after batch, as many at a time as there are streams."""
        return keep_in_flight(self._requests, batches)

    def close(self) -> None:
        """Let go of what was loaded."""
        self._requests.clear()


class _Request:
    """Room for one batch, computed by OpenVINO's own threads."""

    def __init__(self, model: ov.CompiledModel, spec: TensorSpec) -> None:
        self._request = model.create_infer_request()
        self._spec = spec

    def submit(self, batch: Array) -> None:
        check_batch(self._spec, batch)
        with _readable_errors():
            self._request.start_async({0: batch}, share_inputs=False)

    def collect(self) -> Array:
        with _readable_errors():
            self._request.wait()
        return np.array(self._request.get_output_tensor().data)

    def drain(self) -> None:
        self._request.wait()


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ArtifactError(f"OpenVINO failed: {_last_line(error)}") from error


def _own_precision(description: artifact.Description) -> str:
    return "bf16" if description.precision == "bf16" else "fp32"


def supports(precision: str) -> bool:
    """Whether this CPU has instructions for a precision, ``fp32`` or ``bf16``."""
    return precision.upper() in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _require_instructions(precision: str) -> None:
    if precision not in PRECISIONS:
        raise UsageError(f"OpenVINO computes in {' or '.join(PRECISIONS)}, not in {precision}")
    if not supports(precision):
        raise UsageError(
            "this CPU has no bf16 instructions (AVX512_BF16 or AMX): compute in fp32, "
            "which is faster here"
        )


def _settings(precision: str, threads: int | None, streams: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "NUM_STREAMS": streams,
        "CACHE_DIR": str(cache_folder() / "openvino"),
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


def _spec(port: ov.Output, layout: str) -> TensorSpec:
    shape, dtype = port.partial_shape, port.element_type.to_dtype().name
    if shape.is_dynamic or len(shape) != 4 or dtype not in ("float32", "float16", "uint8"):
        raise ArtifactError(
            f"'{port.any_name}' is {dtype} {shape}; "
            "four fixed dimensions of float32, float16 or uint8 were expected"
        )
    batch, *rest = shape.to_shape()
    return TensorSpec(port.any_name, (batch, *rest), dtype, layout)
