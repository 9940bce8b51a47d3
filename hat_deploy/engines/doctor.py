"""What this machine can run, and for each engine that it cannot: why, and the way to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from hat_deploy.engines import cuda
from hat_deploy.engines.cuda.driver import (
    cuda_version,
    driver_version,
    format_cuda,
    local_gpu_name,
)
from hat_deploy.engines.tensorrt import library as tensorrt_library
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import HatDeployError, install_command
from hat_deploy.precision import OPENVINO


@dataclass(frozen=True)
class Finding:
    """One engine on one device."""

    engine: str
    usable: bool
    detail: str
    """Versions and device where usable, else the reason and what to do."""


def examine() -> list[Finding]:
    """Look at every engine this package has. Imports their libraries."""
    return [
        _examine("torch, cpu", "torch", "export", _torch_cpu),
        _examine("torch, cuda", "torch", "export", _torch_cuda),
        *(
            _examine(f"openvino, cpu, {precision}", "openvino", "cpu", _openvino(precision))
            for precision in OPENVINO
        ),
        _examine("onnxruntime, cpu", "onnxruntime", "cpu", _ort("CPUExecutionProvider")),
        _examine("onnxruntime, cuda", "onnxruntime", "gpu", _ort("CUDAExecutionProvider")),
        *map(_plans, Flavour),
    ]


class _NotHere(Exception):
    pass


def _examine(engine: str, module: str, extra: str, check: Callable[[ModuleType], str]) -> Finding:
    try:
        return Finding(engine, True, check(importlib.import_module(module)))
    except _NotHere as reason:
        return Finding(engine, False, str(reason))
    except ImportError as error:
        if error.name == module:
            return Finding(engine, False, f"{module} is not installed: {install_command(extra)}")
        return Finding(engine, False, f"{module} is installed but does not load: {error}")
    except (OSError, RuntimeError) as error:  # a library of its own is missing, or refuses
        why = " ".join(str(error).split())
        return Finding(engine, False, f"{module} is installed but does not work: {why}")


def _plans(flavour: Flavour) -> Finding:
    """Whether plans of a flavour run here: its library, a GPU, and a library to call it."""
    engine = f"{flavour.label}, cuda"
    try:
        library = tensorrt_library.load(flavour)
        purpose = f"Running plans of {library.title}"
        device = cuda.open_device(extra=flavour.extra, purpose=purpose)
        device.close()
        flavour.require_driver(cuda_version())
    except HatDeployError as reason:
        return Finding(engine, False, str(reason))
    least = format_cuda(flavour.least_driver)
    return Finding(
        engine,
        True,
        f"{library.title}, {device.gpu.name} ({device.gpu.sm}), {_driver_line()}, at least {least}",
    )


def _torch_cpu(torch: ModuleType) -> str:
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def _torch_cuda(torch: ModuleType) -> str:
    if torch.version.cuda is None:
        raise _NotHere(f"torch {torch.__version__} is built without CUDA: install a CUDA build")
    if not torch.cuda.is_available():
        raise _NotHere(f"torch {torch.__version__} sees no CUDA device: check the NVIDIA driver")
    return f"torch {torch.__version__}, {torch.cuda.get_device_name()}"


def _openvino(precision: str) -> Callable[[ModuleType], str]:
    def check(openvino: ModuleType) -> str:
        library = f"openvino {openvino.__version__.split('-')[0]}"
        from hat_deploy.engines.openvino import supports

        if not supports(precision):
            raise _NotHere(f"{library}: this CPU has no {precision} instructions")
        return f"{library}, {openvino.Core().get_property('CPU', 'FULL_DEVICE_NAME')}"

    return check


def _ort(provider: str) -> Callable[[ModuleType], str]:
    def check(ort: ModuleType) -> str:
        if provider not in ort.get_available_providers():
            raise _NotHere(
                f"onnxruntime {ort.__version__} is built without {provider}: "
                f"pip uninstall onnxruntime, then {install_command('gpu')} "
                "(the two cannot live together)"
            )
        if provider == "CUDAExecutionProvider":
            return f"onnxruntime {ort.__version__}, {_cuda_session(ort)}"
        return f"onnxruntime {ort.__version__}, {provider}"

    return check


def _cuda_session(ort: ModuleType) -> str:
    """Open a session of one node: that a build has a provider does not say that it starts.

    Raises:
        _NotHere: it did not.
    """
    from hat_deploy.engines.onnxruntime import preload

    preload()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            _one_node(), options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        started = session.get_providers()[0] == "CUDAExecutionProvider"
        reason = "it does not start"
    except Exception as error:  # the library raises bare Exceptions of its own
        started, reason = False, " ".join(str(error).split())
    if not started:
        raise _NotHere(
            f"onnxruntime {ort.__version__}: CUDA {reason}; it is built for CUDA "
            f"{_built_for(ort)}, and {_driver_line()}; {install_command('gpu')}, or update the "
            "driver"
        )
    return f"{local_gpu_name()}, {_driver_line()}"


def _built_for(ort: ModuleType) -> str:
    return str(getattr(ort, "cuda_version", "") or "12 or newer")


def _driver_line() -> str:
    """The driver's release and the newest CUDA it takes."""
    release, cuda_number = driver_version(), cuda_version()
    if cuda_number is None:
        return "this machine has no NVIDIA driver"
    return f"driver {release or 'of unknown release'} takes up to CUDA {format_cuda(cuda_number)}"


def _one_node() -> bytes:
    """An ONNX model that returns its one float: written here, for onnx may not be installed.

    ModelProto: ir_version 8, opset 13, and a graph of one Identity; field numbers of onnx.proto.
    """

    def part(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def number(field: int, value: int) -> bytes:
        return bytes([field << 3, value])

    def value(name: bytes) -> bytes:
        shape = part(2, part(1, number(1, 1)))
        return part(1, name) + part(2, part(1, number(1, 1) + shape))

    node = part(1, b"x") + part(2, b"y") + part(4, b"Identity")
    graph = part(1, node) + part(2, b"g") + part(11, value(b"x")) + part(12, value(b"y"))
    return number(1, 8) + part(7, graph) + part(8, number(2, 13))
