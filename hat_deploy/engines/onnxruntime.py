"""Run an ``.onnx`` artifact with ONNX Runtime, on the CPU or a CUDA device."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np

from hat_deploy.artifact import Artifact
from hat_deploy.engines.averages import PortsEngine
from hat_deploy.engines.base import Arrays, Declared, Ports, check_declared, check_result
from hat_deploy.errors import ArtifactError, UsageError, install_command, needed_for
from hat_deploy.precision import Precision

with needed_for("Running an .onnx artifact"):
    import onnxruntime as ort

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cpu": {},
    "cuda": {
        "use_tf32": "0",  # it would break fp32 fidelity
        "arena_extend_strategy": "kSameAsRequested",  # the default takes up to twice the need
    },
}


class OnnxRuntimeEngine(PortsEngine):
    """An :class:`~hat_deploy.engines.base.Engine` on ONNX Runtime.

    On CUDA, input and output are bound once to memory on the device: each call copies the batch
    in, computes and copies the result out, one batch at a time.

    Args:
        named: an artifact made by ``hat-deploy export``.
        device: ``cpu`` or ``cuda``.
        threads: threads of one call on the CPU; all cores by default.
        gpu: number of the GPU among those that are visible.

    Raises:
        ArtifactError: the file is damaged, foreign, or the library refuses it.
        UsageError: this build of ONNX Runtime has no such device.
    """

    def __init__(
        self,
        named: Path | Artifact,
        *,
        device: str = "cpu",
        threads: int | None = None,
        gpu: int = 0,
    ) -> None:
        artifact = Artifact.of(named)
        path = artifact.path
        self.description = artifact.description
        provider = _PROVIDERS[device]
        if provider not in ort.get_available_providers():
            raise UsageError(
                f"this onnxruntime has no {provider}: pip uninstall onnxruntime, "
                f"then {install_command('gpu')}"
            )
        if device == "cuda":
            preload()
        try:
            self._session = ort.InferenceSession(
                str(path),
                _session_options(threads),
                providers=[(provider, _provider_options(device, gpu))],
            )
        except Exception as error:  # the library raises bare Exceptions of its own
            raise _failed(f"ONNX Runtime cannot load {path}", error) from error
        if self._session.get_providers()[0] != provider:
            raise ArtifactError(
                f"ONNX Runtime could not start {provider} on this machine; "
                "'hat-deploy doctor' says what it can run"
            )
        self._device = device
        self._on_gpu = device != "cpu"
        self._window = self.description.window
        self._ports = check_declared(
            path,
            self.description,
            [_declared(value) for value in self._session.get_inputs()],
            [_declared(value) for value in self._session.get_outputs()],
        )
        self._bound = None
        if device != "cpu":
            self._bound = Bound(self._session, self._ports, device, gpu)

    @property
    def name(self) -> str:
        """Library, version, device and precision."""
        precision = self.description.precision
        wider = self._device == "cpu" and precision != Precision.FP32
        return (
            f"onnxruntime {ort.__version__}, {self._device}, {precision}"
            f"{' computed wider' if wider else ''}"
        )

    def _stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        return map(self._compute, batches)

    def _compute(self, batch: Arrays) -> Arrays:
        if self._bound is not None:
            return self._bound.run(batch)
        names = [spec.name for spec in self._ports.inputs]
        try:
            results = self._session.run(
                [spec.name for spec in self._ports.outputs], dict(zip(names, batch, strict=True))
            )
        except Exception as error:  # as above
            raise _failed("ONNX Runtime failed", error) from error
        for spec, result in zip(self._ports.outputs, results, strict=True):
            check_result(spec, result)
        return tuple(results)

    def at(self, size: tuple[int, int], *, many: bool = False) -> OnnxRuntimeEngine | None:
        """The same session for tiles of another size, where the graph takes any."""
        if not self.description.any_size or self._bound is not None:
            return None
        other = copy.copy(self)
        other._ports = self._ports.at(size)
        return other

    def close(self) -> None:
        """Let go of what was loaded."""
        self._bound = None
        del self._session


class Bound:
    """A session whose inputs and outputs stay in the same memory of a device.

    Args:
        session: loaded on the device.
        ports: its inputs and outputs.
        device: where they go, as ONNX Runtime calls it: ``cuda``, or ``cpu`` to try it out.
        number: of the device.

    Raises:
        ArtifactError: there is not enough memory for them.
    """

    def __init__(
        self, session: ort.InferenceSession, ports: Ports, device: str, number: int = 0
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        try:
            self._inputs, self._outputs = (
                [
                    ort.OrtValue.ortvalue_from_shape_and_type(
                        spec.shape, np.dtype(spec.dtype), device, number
                    )
                    for spec in specs
                ]
                for specs in (ports.inputs, ports.outputs)
            )
        except Exception as error:  # the library raises bare Exceptions of its own
            raise _failed("ONNX Runtime failed", error) from error
        for spec, value in zip(ports.inputs, self._inputs, strict=True):
            self._binding.bind_ortvalue_input(spec.name, value)
        for spec, value in zip(ports.outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(spec.name, value)

    def run(self, batch: Arrays) -> Arrays:
        """Copy in, compute, copy out. The results belong to the caller.

        Raises:
            ArtifactError: it failed.
        """
        try:
            for value, array in zip(self._inputs, batch, strict=True):
                value.update_inplace(array)
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
            # On a CPU it would be a view.
            return tuple(np.array(value.numpy()) for value in self._outputs)
        except Exception as error:  # as above
            raise _failed("ONNX Runtime failed", error) from error


def _provider_options(device: str, gpu: int) -> dict[str, str]:
    options = _PROVIDER_OPTIONS[device]
    return options if device == "cpu" else {**options, "device_id": str(gpu)}


@cache
def preload() -> None:
    """Load the CUDA libraries that its extras install, which it does not look for by itself.

    What cannot be loaded is printed by the library; a session that needs it then says what is
    missing, so that is left out.
    """
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):
            ort.preload_dlls()


def _failed(what: str, error: Exception) -> ArtifactError:
    """One sentence. For want of a code, memory that is used up is known by ONNX Runtime's text.

    Its arena and CUDA word it differently; whatever else fails comes through as it is.
    """
    text = " ".join(str(error).split())
    if "Failed to allocate memory" in text or "out of memory" in text:
        return ArtifactError(
            f"{what}: there is not enough memory; use a smaller tile or batch, or close what else "
            "uses it"
        )
    return ArtifactError(f"{what}: {text}")


def _session_options(threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    # With buffers planned for reuse, each is kept until its last user of the same size is
    # done: a HAT at 256x256 then peaks at 7.3 GB. Freed as soon as unused: 3.3 GB, no slower.
    options.enable_mem_reuse = False
    options.enable_mem_pattern = False
    options.log_severity_level = (
        4  # errors come as exceptions; printed, they hold names as they are
    )
    if threads:
        options.intra_op_num_threads = threads
    return options


def _declared(value: ort.NodeArg) -> Declared:
    return Declared(value.name, value.shape, _DTYPES.get(value.type, value.type))
