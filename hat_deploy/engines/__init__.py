"""Engines: something loaded that runs one fixed-shape batch.

``base`` is the seam; every other module wraps one library and is the only one to import it.
"""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hat_deploy.artifact import Artifact
from hat_deploy.engines.cuda import visible
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.geometry import whole_number
from hat_deploy.machine import usable_cores
from hat_deploy.precision import OPENVINO, Precision
from hat_deploy.terminal.wording import counted

if TYPE_CHECKING:
    from hat_deploy.engines.base import Engine


BACKENDS = ("openvino", "onnxruntime")
"""Libraries that run an ``.onnx``; on a CPU the first that is installed is taken."""


def check_options(
    *,
    backend: str | None = None,
    compute: str | None = None,
    threads: int | None = None,
    streams: int = 1,
) -> None:
    """Refuse values of options that no engine has, before anything is exported or loaded.

    Args:
        backend, compute, threads, streams: as for :func:`open_artifact`.

    Raises:
        UsageError: one is none of the known names, or no whole number from 1 up.
    """
    if backend not in (None, *BACKENDS):
        raise UsageError(f"backend is {backend!r}; use {' or '.join(BACKENDS)}")
    if compute not in (None, *OPENVINO):
        raise UsageError(f"compute is {compute!r}; use {' or '.join(OPENVINO)}")
    if threads is not None:
        whole_number("threads", threads)
    whole_number("streams", streams)


def require_computable(
    precision: str, *, device: str, backend: str | None, compute: str | None
) -> None:
    """Refuse to export in a precision that this machine would not run then.

    Args:
        precision: of the artifact to be made.
        device: ``cpu`` or ``cuda``.
        backend, compute: as for :func:`open_artifact`.

    Raises:
        UsageError: it would run in OpenVINO on a CPU without instructions for bf16.
    """
    openvino = device == "cpu" and backend_for(device, backend, compute) == "openvino"
    if openvino and compute is None and precision == Precision.BF16:
        from hat_deploy.engines.openvino import require_instructions

        require_instructions(precision)


def open_artifact(
    named: Path | Artifact,
    *,
    device: str = "cpu",
    threads: int | None = None,
    backend: str | None = None,
    compute: str | None = None,
    streams: int = 1,
    self_test: bool = True,
) -> Engine:
    """The engine for an artifact, chosen by its suffix and the device.

    Args:
        named: ``.onnx`` or ``.plan``; an :class:`Artifact` is not read again.
        device: as :func:`hat_deploy.engines.cuda.visible.settle_all` takes it; a plan runs on CUDA
            whatever is asked. On several devices it is a
            :class:`hat_deploy.engines.several.SeveralEngines`.
        threads: of one call of an engine on a CPU; by default all cores, divided among the
            engines.
        backend: one of :data:`BACKENDS`, for an ``.onnx``. Default: on a CPU OpenVINO, or ONNX
            Runtime where OpenVINO is not installed; ONNX Runtime on CUDA.
        streams: batches that OpenVINO computes side by side.
        compute: ``fp32`` or ``bf16``, for OpenVINO; by default what the artifact was made in.
        self_test: whether it is tested, where that was not done before, on each device of another
            name; see :func:`hat_deploy.engines.self_test.require`.

    Raises:
        ArtifactError: the file is missing, damaged, foreign, not for this machine, or fails its
            test on it.
        MissingExtraError: the library that runs it is not installed.
        UsageError: there is no such device, or the engine cannot do what is asked.
    """
    check_options(backend=backend, compute=compute, threads=threads, streams=streams)
    artifact, devices = Artifact.of(named), visible.settle_all(device)
    if devices.count > 1 and artifact.is_plan and not devices.on_gpu:
        raise UsageError(f"{artifact.path} is a plan, which runs on GPUs: not on {device}")
    note = ""
    if devices.count > 1 and not devices.on_gpu:
        threads = threads or max(1, usable_cores() // devices.count)
        note = counted(threads, "thread")

    def opened(gpu: int) -> Engine:
        engine = _open(artifact, devices.kind, threads, backend, compute, streams, gpu)
        if self_test:
            from hat_deploy.engines import self_test as test

            try:
                test.require(engine, artifact, device=devices.kind, compute=compute, gpu=gpu)
            except BaseException:
                engine.__exit__(None, None, None)
                raise
        return engine

    if devices.count == 1:
        return opened(0)
    from hat_deploy.engines.several import SeveralEngines

    return SeveralEngines([partial(opened, gpu) for gpu in range(devices.count)], note=note)


def _open(
    artifact: Artifact,
    device: str,
    threads: int | None,
    backend: str | None,
    compute: str | None,
    streams: int,
    gpu: int,
) -> Engine:
    if artifact.is_plan:
        if backend or compute:
            raise UsageError("a plan runs in TensorRT, as it was built: no backend, no precision")
        if streams > 1:
            raise UsageError("a plan runs in TensorRT, as it was built: leave streams out")
        from hat_deploy.engines.tensorrt.engine import TensorRTEngine

        return TensorRTEngine(artifact, gpu=gpu)
    path = artifact.path
    if not artifact.is_onnx:
        raise ArtifactError(
            f"{path} has the suffix {path.suffix or '(none)'}; an artifact ends in .onnx or .plan"
        )
    if backend_for(device, backend, compute) == "openvino":
        from hat_deploy.engines.openvino import OpenVINOEngine

        if device != "cpu":
            raise UsageError("OpenVINO runs on the CPU here: use onnxruntime on cuda")
        return OpenVINOEngine(artifact, precision=compute, threads=threads, streams=streams)
    from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine

    if streams > 1:
        raise UsageError(
            "ONNX Runtime computes one batch at a time: leave streams out, or use openvino"
        )
    if compute not in (None, Precision.FP32):
        raise UsageError(
            f"onnxruntime computes as the artifact says, not in {compute}: use openvino"
        )
    return OnnxRuntimeEngine(artifact, device=device, threads=threads, gpu=gpu)


def backend_for(device: str, backend: str | None = None, compute: str | None = None) -> str:
    """Which of :data:`BACKENDS` runs an ``.onnx``; arguments as for :func:`open_artifact`."""
    if backend is not None:
        return backend
    if device != "cpu":
        return "onnxruntime"
    if compute is not None:
        return "openvino"
    return "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"
