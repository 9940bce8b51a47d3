"""A GPU and a TensorRT in host memory, strict about what real ones leave undefined.

Work queued on a stream happens when it is waited for, never earlier; memory that was given back
must not be touched; two batches must not compute in the same scratch. What they cannot show is
how the real libraries behave: that is for ``tests/gpu``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hat_deploy.engines.cuda.base import GPU, OUT_OF_MEMORY, Bytes, CudaError

MODE = Enum("TensorIOMode", ["INPUT", "OUTPUT"])
DTYPE = Enum("DataType", ["FLOAT", "HALF", "UINT8", "INT32"])
CODE = Enum("ErrorCodeTRT", ["UNSPECIFIED_ERROR", "FAILED_ALLOCATION"])
NUMPY = {DTYPE.FLOAT: "float32", DTYPE.HALF: "float16", DTYPE.UINT8: "uint8", DTYPE.INT32: "int32"}


class SimulatedCuda:
    """See :class:`hat_deploy.engines.cuda.base.Cuda`.

    Args:
        free: bytes of its memory.
        sm: its compute capability.
        fail_at: number of the call that fails; None: none does.
        code: what it fails with.
        graphs: whether work can be recorded.
    """

    name = "simulated"

    def __init__(
        self,
        *,
        free: int = 1 << 30,
        sm: str = "sm89",
        fail_at: int | None = None,
        code: int = 700,
        graphs: bool = True,
    ) -> None:
        self.gpu = GPU("NVIDIA Imaginary", sm)
        self.free_bytes = self.total = free
        self.fail_at, self.code, self.graphs = fail_at, code, graphs
        self.calls = 0
        self.device: dict[int, Bytes] = {}
        self.pinned: dict[int, Bytes] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.live_graphs: list[Any] = []
        self.recording: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self.most_waiting = 0
        self.next = 0x1000
        self.closed = False

    @property
    def leftovers(self) -> list[str]:
        made = {
            "device": self.device,
            "pinned": self.pinned,
            "stream": self.streams,
            "graph": self.live_graphs,
        }
        return [kind for kind, things in made.items() if things]

    def memory(self) -> tuple[int, int]:
        self._call()
        return self.free_bytes, self.total

    def allocate(self, size: int) -> int:
        self._call()
        if size > self.free_bytes:
            raise CudaError("allocate", OUT_OF_MEMORY, "cudaErrorMemoryAllocation")
        self.free_bytes -= size
        address = self._new()
        self.device[address] = np.full(size, 0xAA, np.uint8)
        return address

    def free(self, address: int) -> None:
        self.free_bytes += self.device.pop(address).size

    def allocate_pinned(self, size: int) -> Bytes:
        self._call()
        memory = np.full(size, 0xAA, np.uint8)
        self.pinned[memory.ctypes.data] = memory
        return memory

    def free_pinned(self, memory: Bytes) -> None:
        del self.pinned[memory.ctypes.data]

    def create_stream(self) -> int:
        self._call()
        stream = self._new()
        self.streams[stream] = []
        return stream

    def destroy_stream(self, stream: int) -> None:
        assert not self.streams.pop(stream), "destroyed at work"

    def synchronize(self, stream: int) -> None:
        self.most_waiting = max(self.most_waiting, sum(map(bool, self.streams.values())))
        work, self.streams[stream] = self.streams[stream], []
        for step in work:
            step()
        self._call()

    def copy_in(self, address: int, source: Bytes, stream: int) -> None:
        self._call()
        assert source.ctypes.data in self.pinned
        self.queue(stream, lambda: np.copyto(self.device[address], source))

    def copy_out(self, target: Bytes, address: int, stream: int) -> None:
        self._call()
        assert target.ctypes.data in self.pinned
        self.queue(stream, lambda: np.copyto(target, self.device[address]))

    def queue(self, stream: int, step: Callable[[], None]) -> None:
        self.recording.get(stream, self.streams[stream]).append(step)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        if not self.graphs:
            return None
        self.recording[stream] = []
        try:
            self._call()
            work()
        finally:
            graph = self.recording.pop(stream)
        self.live_graphs.append(graph)
        return graph

    def launch(self, graph: Any, stream: int) -> None:
        self._call()
        self.launches += 1
        self.streams[stream] += graph

    def destroy_graph(self, graph: Any) -> None:
        self.live_graphs = [live for live in self.live_graphs if live is not graph]

    def close(self) -> None:
        self.closed = True

    def _call(self) -> None:
        self.calls += 1
        if self.calls - 1 == self.fail_at:
            raise CudaError("a call", self.code, "cudaErrorOnPurpose")

    def _new(self) -> int:
        self.next += 0x1000
        return self.next


class SimulatedDriver:
    """The driver's library, as ``ctypes`` opens it: which GPUs are visible is settled by cuInit.

    Args:
        gpus: names; the compute capability of each is 8.9, its place on the bus its number.
    """

    NOT_INITIALIZED, NO_DEVICE, INVALID_DEVICE = 3, 100, 101

    def __init__(self, *gpus: str) -> None:
        self.gpus = gpus
        self.visible: list[int] | None = None

    def cuInit(self, flags: int) -> int:  # noqa: N802
        if not self.visible:
            self.visible = [*self._named()]
        return 0 if self.visible else self.NO_DEVICE

    def _named(self) -> Iterator[int]:
        """Numbers in the variable, up to the first that there is no GPU for."""
        names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(len(self.gpus)))))
        for name in filter(None, names.split(",")):
            if not 0 <= int(name) < len(self.gpus):
                return
            yield int(name)

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.visible or ())
        return 0 if self.visible else self.NOT_INITIALIZED

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        assert self.visible is not None
        if ordinal >= len(self.visible):
            return self.INVALID_DEVICE
        device._obj.value = self.visible[ordinal]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuDeviceGetName(self, text: Any, size: int, device: Any) -> int:  # noqa: N802
        text.value = self.gpus[device.value].encode()
        return 0

    def cuDeviceGetPCIBusId(self, text: Any, size: int, device: Any) -> int:  # noqa: N802
        text.value = f"00000000:{device.value:02d}:00.0".encode()
        return 0


class SimulatedTensorRT:
    """A module of TensorRT whose plans repeat every pixel, and double averages, plus one where
    they are known.

    Args:
        cuda: where they run.
        shapes: by name of an input or output.
        version: 8.6 to 10.0, or later, which has other calls.
        refuses: ``deserialize``, ``context``, ``enqueue`` or ``capture``; it fails.
        code: what it then reports.
        peak: what the output ``peak`` holds, where there is one.
        wrong: added to every byte or value of a result.
    """

    ErrorCodeTRT = CODE
    TensorIOMode = MODE

    def __init__(
        self,
        cuda: SimulatedCuda,
        *,
        shapes: dict[str, tuple[int, ...]],
        dtype: DTYPE = DTYPE.FLOAT,
        version: str = "10.13.0",
        scratch: int = 4096,
        refuses: str = "",
        code: CODE = CODE.UNSPECIFIED_ERROR,
        peak: float = 1.0,
        wrong: int = 0,
    ) -> None:
        self.__version__ = version
        self.peak, self.wrong = peak, wrong
        self.cuda, self.shapes, self.dtype, self.scratch = cuda, shapes, dtype, scratch
        self.refuses, self.code = refuses, code
        self.recorder: Any = None
        self.alive: list[str] = []
        self.given_kernels: list[bytes] = []
        if not version.startswith(("8.", "10.0")):
            self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")

    class ILogger:
        INTERNAL_ERROR, ERROR = range(2)

    class IErrorRecorder:
        pass

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        return SimulatedRuntime(self)

    def refuse(self, what: str) -> bool:
        if self.refuses != what:
            return False
        self.recorder.report_error(self.code, f"{what}\n  refused")
        return True


class SimulatedRuntime:
    def __init__(self, trt: SimulatedTensorRT) -> None:
        self._trt = trt

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "error_recorder":
            self._trt.recorder = value
        else:
            super().__setattr__(name, value)

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        if self._trt.refuse("deserialize"):
            return None
        old = self._trt.__version__.startswith(("8.", "10.0"))
        return (OldEngine if old else SimulatedEngine)(self._trt)


class EngineBase:
    def __init__(self, trt: SimulatedTensorRT) -> None:
        self.trt = trt
        self.num_io_tensors = len(trt.shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.trt.shapes)[index]

    def get_tensor_mode(self, name: str) -> MODE:
        return MODE.OUTPUT if name.startswith(("out", "own", "peak")) else MODE.INPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.trt.shapes[name]

    def get_tensor_dtype(self, name: str) -> DTYPE:
        images = name.startswith(("in", "out"))
        return self.trt.dtype if images else DTYPE.FLOAT

    def made(self) -> Any:
        return None if self.trt.refuse("context") else SimulatedContext(self.trt)


class SimulatedEngine(EngineBase):
    @property
    def device_memory_size_v2(self) -> int:
        return self.trt.scratch

    def create_execution_context(self, how: Any) -> Any:
        strategy = how if isinstance(how, str) else how.strategy
        assert strategy == "user"
        return self.made()

    def create_runtime_config(self) -> Any:
        config = SimpleNamespace(strategy=None)
        config.set_execution_context_allocation_strategy = lambda s: setattr(config, "strategy", s)
        config.create_runtime_cache = lambda: SimulatedKernels(self.trt)
        config.set_runtime_cache = lambda cache: True
        return config


class SimulatedKernels:
    """What RTX has compiled; it is taken back only by the release that made it."""

    def __init__(self, trt: SimulatedTensorRT) -> None:
        self.trt = trt

    def serialize(self) -> bytes:
        return f"kernels of {self.trt.__version__}".encode()

    def deserialize(self, blob: bytes) -> bool:
        self.trt.given_kernels.append(blob)
        return blob == self.serialize()


class OldEngine(EngineBase):
    @property
    def device_memory_size(self) -> int:
        return self.trt.scratch

    def create_execution_context_without_device_memory(self) -> Any:
        return self.made()


class SimulatedContext:
    def __init__(self, trt: SimulatedTensorRT) -> None:
        self.trt = trt
        self.addresses: dict[str, int] = {}
        self.device_memory = 0
        self.runs = 0

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.trt.scratch
        self.device_memory = memory

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.trt.shapes

    def is_stream_capturable(self, stream: int) -> bool:
        return self.trt.refuses != "capturable"

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        recording = stream in self.trt.cuda.recording
        if self.trt.refuse("enqueue") or (recording and self.trt.refuse("capture")):
            return False
        self.trt.cuda.queue(stream, self.compute)
        return True

    def compute(self) -> None:
        memory = self.trt.cuda.device
        if self.trt.scratch:
            assert memory[self.device_memory].size >= self.trt.scratch
        source, target = (memory[self.addresses[name]] for name in ("input", "output"))
        large = self.trt.shapes["input"]
        if "peak" in self.trt.shapes:
            memory[self.addresses["peak"]].view("float32").fill(self.trt.peak)
        pixels = source.view(NUMPY[self.trt.dtype]).reshape(large)
        rows = 2 if large[1] == 3 else 1
        result = pixels.repeat(2, rows).repeat(2, rows + 1) + pixels.dtype.type(self.trt.wrong)
        np.copyto(target, np.ascontiguousarray(result).view(np.uint8).ravel())
        if "own_averages" in self.trt.shapes:
            given, known = (
                memory[self.addresses[name]].view(np.float32).reshape(self.trt.shapes[name])
                for name in ("averages", "known")
            )
            own = memory[self.addresses["own_averages"]]
            np.copyto(own, (given * 2 + known).view(np.uint8).ravel())


def plan_file(path: Path, description: str, *, begins: bytes = b"ftrt", padding: int = 0) -> Path:
    """A file that looks like a plan from outside."""
    body = b"hat-deploy:" + description.encode() + b"\0" * (padding + 1)
    head = begins + bytes(12)
    path.write_bytes(head + (len(head) + 8 + len(body)).to_bytes(8, "little") + body)
    return path
