"""Drive TensorRT's builder. This module runs as a process of its own.

:mod:`hat_deploy.export.to_plan` starts it. The builder keeps the interpreter from seeing signals
for seconds and may crash on a machine that lacks memory; neither may stop the caller.

    argument one JSON object, :class:`Order`
    stdin    nothing; its end means that the caller is gone: stop
    stdout   a JSON object a line: ``{"stage"}``, and at the end ``{"error"}`` or ``{"name"}``
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hat_deploy.artifact import PLAN_MARKER, Description
from hat_deploy.engines.base import ports_of
from hat_deploy.engines.tensorrt.errors import error_log, reasons

LONGEST_NAME = 4096
"""TensorRT drops a longer network name and says so only in its log."""

Send = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to build."""

    flavour: str
    """The name of a :class:`~hat_deploy.engines.tensorrt.flavours.Flavour`."""
    module: str
    """The name its library is imported by."""
    onnx: str
    plan: str
    """Paths of the file to read and the one to write."""
    description: str
    """JSON of the ONNX file's description; the library's version is added to it."""
    targets: tuple[str, ...]
    """GPUs to build for, as ``sm89``; empty: the one in this machine."""
    tf32: bool
    """Whether products of fp32 may be taken in TF32."""
    timings: str
    """Path of a file with what kernels took in earlier builds, if it is there, and where to leave
    what they took in all; empty: nowhere."""

    def to_json(self) -> str:
        """The order as one line."""
        return json.dumps(asdict(self))


class _Refused(Exception):
    """TensorRT refused; the message is for the user."""


def main() -> None:
    """Build what the argument orders and report on stdout."""
    order = json.loads(sys.argv[1])
    send = _private_stdout()
    threading.Thread(target=_exit_with_the_caller, daemon=True).start()
    try:
        send(name=_build(Order(**order), send))
    except _Refused as error:
        send(error=str(error))
    except ImportError as error:
        send(error=f"{order['module']} is installed but does not load: {error}")
    except MemoryError:
        send(error="there is not enough memory to build this plan: use a smaller tile or batch")


def _build(order: Order, send: Send) -> str:
    send(stage=f"loading {order.module}")
    trt = importlib.import_module(order.module)
    reported: list[str] = []
    log = error_log(trt, reported)
    builder = trt.Builder(log)
    network = builder.create_network(_strongly_typed(trt))
    send(stage="reading the ONNX file")
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(order.onnx):
        raise _Refused(f"TensorRT cannot read {order.onnx}: {_complaints(parser, reported)}")
    described = Description.from_json(order.description, Path(order.onnx))
    if -1 in tuple(network.get_input(0).shape):  # of any size
        network.get_input(0).shape = ports_of(described).inputs[0].shape
    network.name = name = _name(order, described, trt.__version__)
    if network.name != name:
        raise _Refused("TensorRT did not keep the plan's description")
    send(stage="building")
    config = _config(trt, builder, order, send)
    timings = _use_timings(config, order.timings) if order.timings else None
    reported.clear()  # timings that it does not take are no reason
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _Refused(f"TensorRT cannot build {order.onnx}: {reasons(reported)}")
    send(stage="writing the plan")
    Path(order.plan).write_bytes(plan)
    if timings is not None:
        Path(order.timings).write_bytes(timings.serialize())
    return name


def _use_timings(config: Any, path: str) -> Any:
    """What kernels took, known or empty, for a build to use and to add to."""
    known = Path(path).read_bytes() if Path(path).is_file() else b""
    timings = config.create_timing_cache(known)
    if timings is None or not config.set_timing_cache(timings, False):
        timings = config.create_timing_cache(b"")  # of another release or GPU, or damaged
        config.set_timing_cache(timings, False)
    return timings


def _strongly_typed(trt: Any) -> int:
    """Creation flags: the types are in the graph. Newer releases know nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _complaints(parser: Any, reported: list[str]) -> str:
    """The parser's own errors, or what was logged where it has none."""
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    return reasons([_reason(error) for error in errors] or reported)


def _reason(error: Any) -> str:
    where = f"node '{error.node_name()}' ({error.node_operator()}): " if error.node_name() else ""
    # On a machine without a driver, a complaint about that follows the reason.
    return where + " ".join(error.desc().split(" [checkMacros")[0].split())


def _name(order: Order, described: Description, version: str) -> str:
    described.versions[order.flavour] = version
    name = PLAN_MARKER + described.to_json()
    if len(name) > LONGEST_NAME:
        raise _Refused(
            f"the plan's description takes {len(name)} characters, TensorRT keeps "
            f"{LONGEST_NAME}: use a shorter model name"
        )
    return name


def _config(trt: Any, builder: Any, order: Order, send: Send) -> Any:
    config = builder.create_builder_config()
    if not order.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if order.targets:
        config.num_compute_capabilities = len(order.targets)
        for index, target in enumerate(order.targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    # RTX: whatever the plan needs to run in is then known beforehand, and it can be captured.
    if "REQUIRE_USER_ALLOCATION" in trt.BuilderFlag.__members__:
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    config.progress_monitor = _monitor(trt, send)
    return config


def _monitor(trt: Any, send: Send) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Passes TensorRT's phases on."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps
            send(stage=phase)

        def step_complete(self, phase: str, step: int) -> bool:
            send(stage=f"{phase}, {step + 1} of {self.steps[phase]}")
            return True

        def phase_finish(self, phase: str) -> None:
            self.steps.pop(phase, None)

    return Monitor()


def _private_stdout() -> Send:
    """A sender on the real stdout; whatever a library prints goes to stderr from here on."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(**message: str) -> None:
        stream.write(json.dumps(message) + "\n")
        stream.flush()

    return send


def _exit_with_the_caller() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
