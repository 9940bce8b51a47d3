"""What this machine can run, and for each engine that it cannot: why, and the way to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from hat_deploy.engines import cuda
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
    except HatDeployError as reason:
        return Finding(engine, False, str(reason))
    device.close()
    return Finding(engine, True, f"{library.title}, {device.gpu.name} ({device.gpu.sm})")


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
        return f"onnxruntime {ort.__version__}, {provider}"

    return check
