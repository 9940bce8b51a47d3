"""TensorRT's runtime, in both flavours: what differs between them and between versions.

TensorRT 8.6, 10.0   contexts without memory have a call of their own
TensorRT 10.1 on     they are made by strategy, and their memory is given with its size
TensorRT for RTX     as 10.1; its kernels are compiled when a context is made, and can be kept
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

from hat_deploy.engines.base import Declared
from hat_deploy.engines.cuda.driver import cuda_version
from hat_deploy.engines.tensorrt.errors import Reports, TensorRTError
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import needed_for

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}


class Library:
    """One flavour of TensorRT, loaded.

    Args:
        flavour: the name of a :class:`~hat_deploy.engines.tensorrt.flavours.Flavour`.
        module: its Python module.
    """

    def __init__(self, flavour: str, module: Any) -> None:
        self.flavour = Flavour.of(flavour)
        self.module = module
        self.version: str = module.__version__
        self.reports = Reports(module)
        self.by_strategy = self.flavour is Flavour.RTX or _numbers(self.version) >= (10, 1)
        """Whether contexts are made by allocation strategy."""

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{self.flavour.label} {self.version}"

    def open(self, path: Path) -> Plan:
        """Deserialise a plan; its weights are on the GPU afterwards.

        Raises:
            TensorRTError: it is refused.
            HatDeployError: the driver is too old.
        """
        self.flavour.require_driver(cuda_version())
        return Plan(self, path)


@cache
def load(flavour: str) -> Library:
    """The library of a flavour.

    Raises:
        MissingExtraError: it is not installed.
        HatDeployError: it does not load.
    """
    purpose = "Running plans"
    name = Flavour.of(flavour).module(purpose)
    with needed_for(purpose, library=name):
        return Library(flavour, importlib.import_module(name))


def installed() -> list[Flavour]:
    """The flavours that are there; nothing is loaded."""
    return [flavour for flavour in Flavour if flavour.installed]


class Plan:
    """A deserialised plan. Contexts made from it must be dropped before it is closed."""

    def __init__(self, library: Library, path: Path) -> None:
        self._library = library
        self._trt = library.module
        self._reports = library.reports
        self._reports.clear()
        self._runtime = self._trt.Runtime(self._reports.log)
        self._runtime.error_recorder = self._reports.recorder
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise self.refusal(f"{library.title} cannot load {path}")
        self._kernels: Any = None
        self._config = self._runtime_config()

    @property
    def scratch(self) -> int:
        """Bytes of GPU memory that a context computes in."""
        if self._library.by_strategy:
            return int(self._engine.device_memory_size_v2)
        return int(self._engine.device_memory_size)

    def declared(self, kind: str) -> list[Declared]:
        """Its inputs or outputs, as the engine reports them; a length that varies is -1.

        Args:
            kind: ``INPUT`` or ``OUTPUT``.
        """
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        mode = getattr(self._trt.TensorIOMode, kind)
        return [self._declared(n) for n in names if self._engine.get_tensor_mode(n) == mode]

    def _declared(self, name: str) -> Declared:
        dtype = self._engine.get_tensor_dtype(name).name
        shape = [int(length) for length in self._engine.get_tensor_shape(name)]
        return Declared(name, shape, _DTYPES.get(dtype, dtype))

    def context(self, memory: int) -> Context:
        """A way to run it, which computes in memory of its own.

        Args:
            memory: address of ``scratch`` bytes on the device, aligned to 256.

        Raises:
            TensorRTError: it cannot be made.
        """
        self._reports.clear()
        made = self._create_context()
        if made is None:
            raise self.refusal("TensorRT cannot prepare the plan to run")
        if self.scratch and self._library.by_strategy:
            made.set_device_memory(memory, self.scratch)
        elif self.scratch:
            made.device_memory = memory
        return Context(self, made, tells=self._library.flavour is Flavour.RTX)

    def _create_context(self) -> Any:
        if not self._library.by_strategy:
            return self._engine.create_execution_context_without_device_memory()
        if self._config is not None:
            return self._engine.create_execution_context(self._config)
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return self._engine.create_execution_context(strategy)

    def _runtime_config(self) -> Any:
        """For RTX: one cache of compiled kernels for all contexts, or each compiles again."""
        if self._library.flavour is not Flavour.RTX:
            return None
        config = self._engine.create_runtime_config()
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        config.set_execution_context_allocation_strategy(strategy)
        self._kernels = config.create_runtime_cache()  # the config may only refer to it
        config.set_runtime_cache(self._kernels)
        return config

    def take_kernels(self, kernels: bytes) -> bool:
        """Take what :meth:`kernels` gave earlier, so that no context compiles it again.

        Returns:
            False where the library does not take it: it is damaged, or of another GPU, driver
            or library.
        """
        return self._kernels is not None and bool(self._kernels.deserialize(kernels))

    def kernels(self) -> bytes | None:
        """What was compiled for the contexts so far; None where nothing is compiled."""
        found = None if self._kernels is None else self._kernels.serialize()
        return None if found is None else bytes(found)

    def refusal(self, what: str) -> TensorRTError:
        """An error with the reasons that were given since the last context was made."""
        return self._reports.error(what)

    def close(self) -> None:
        """Free what contexts were made with, the weights, and the runtime they came through."""
        self._config = self._kernels = self._engine = self._runtime = None


class Context:
    """An execution context; made by :meth:`Plan.context`."""

    def __init__(self, plan: Plan, context: Any, *, tells: bool) -> None:
        self._plan = plan
        self._context = context
        self._tells = tells

    def bind(self, name: str, address: int) -> None:
        """Say where on the device an input or output lies.

        Raises:
            TensorRTError: it is refused.
        """
        if not self._context.set_tensor_address(name, address):
            raise self._plan.refusal(f"TensorRT does not take an address for '{name}'")

    def enqueue(self, stream: int) -> None:
        """Queue one batch.

        Raises:
            TensorRTError: it is refused.
        """
        if not self._context.execute_async_v3(stream):
            raise self._plan.refusal("TensorRT cannot run the plan")

    def capturable(self, stream: int) -> bool:
        """Whether a batch can be recorded as a graph: RTX says, TensorRT is tried."""
        return not self._tells or bool(self._context.is_stream_capturable(stream))

    def close(self) -> None:
        """Drop it."""
        self._context = None


def _numbers(version: str) -> tuple[int, ...]:
    """``10.1.0.27`` as (10, 1, 0, 27); what is no number ends it."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
