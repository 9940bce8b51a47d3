"""A TensorRT that builds: installed as ``tensorrt`` where a child process finds it.

It takes any ONNX file and "times" two kernels, unless it was told how long they took; a line for
each that it does time goes to the file beside it that ``TIMED`` names.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__version__ = "10.13.0"
KERNELS = (b"attention", b"convolution")
HEADER = b"10.13.0 "
TIMED = Path(__file__).parent / "timed.txt"


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    TF32 = 0


class ILogger:
    INTERNAL_ERROR, ERROR = range(2)


class IProgressMonitor:
    pass


class OnnxParser:
    def __init__(self, network: Any, log: Any) -> None:
        self.num_errors = 0

    def parse_from_file(self, path: str) -> bool:
        return Path(path).is_file()


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content or HEADER

    def serialize(self) -> memoryview:
        return memoryview(self.content)


class Config:
    timings: TimingCache | None = None
    progress_monitor: Any = None

    def __init__(self, log: Any) -> None:
        self.log = log

    def clear_flag(self, flag: BuilderFlag) -> None:
        pass

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, timings: TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if not timings.content.startswith(HEADER):
            self.log.log(ILogger.ERROR, "of another release")
            return False
        self.timings = timings
        return True


class Builder:
    def __init__(self, log: Any) -> None:
        self.log = log

    def create_network(self, flags: int) -> Any:
        return SimpleNamespace(name="", get_input=lambda index: SimpleNamespace(shape=(1, 3, 8, 8)))

    def create_builder_config(self) -> Config:
        return Config(self.log)

    def build_serialized_network(self, network: Any, config: Config) -> bytes:
        assert config.timings is not None
        with TIMED.open("a") as stream:
            for kernel in KERNELS:
                if kernel not in config.timings.content:
                    stream.write(f"{kernel.decode()}\n")
                    config.timings.content += kernel
        body = network.name.encode() + b"\0"
        return b"ftrt" + bytes(12) + (24 + len(body)).to_bytes(8, "little") + body
