"""Which GPUs: every library here takes the first that is visible, so those that were named are made
the first, and the only ones."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from hat_deploy.engines.cuda.driver import count, in_use
from hat_deploy.errors import UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that CUDA reads once, when a process first uses it."""
ALL = "cuda:all"
MOST_ON_CPU = 256
"""Engines that may share the processor."""

_chosen: tuple[int, ...] = ()
"""GPUs that alone are visible since :func:`settle` or :func:`settle_all`; empty: all are."""


@dataclass(frozen=True)
class Devices:
    """Where the engines of one run compute."""

    kind: str
    """``cpu`` or ``cuda``."""
    count: int = 1
    """Engines. On GPUs, each takes one of the first ``count`` that are visible."""
    text: str = "cpu"
    """What :func:`settle_all` takes again, and finds the same."""

    @property
    def on_gpu(self) -> bool:
        """Whether they are GPUs."""
        return self.kind == "cuda"


def settle(device: str) -> str:
    """``cpu`` and ``cuda`` as they are; with ``cuda:1`` this process, and all that it starts, sees
    the second GPU alone, which is ``cuda`` from then on.

    GPUs are numbered from 0 as CUDA does, among those that :data:`VARIABLE` names if it is set.

    Raises:
        UsageError: it is none of these, there is no such GPU, or this process uses another.
    """
    if device == ALL or "," in device:
        raise UsageError(
            f"device {device}: name one device here, such as cpu, cuda or cuda:1; upscale alone "
            "takes several"
        )
    return settle_all(device).kind


def settle_all(device: str) -> Devices:
    """As :func:`settle`, for one device or several.

    Args:
        device: as for :func:`settle`; ``cuda:all``, every GPU that this process sees; a list of
            GPUs, ``cuda:0,cuda:2``, which alone are visible then; or ``cpu,cpu``, as many engines
            on the processor.

    Raises:
        UsageError: as :func:`settle`; or a GPU is named twice, or beside the processor.
    """
    if device == ALL:
        return _all()
    names = [name.strip() for name in device.split(",")] if "," in device else [device]
    if set(names) == {"cpu"}:
        if len(names) > MOST_ON_CPU:
            raise UsageError(f"device: {len(names)} engines on the CPU; at most {MOST_ON_CPU}")
        return Devices("cpu", len(names), ",".join(names))
    if names == ["cuda"]:
        return Devices("cuda", 1, "cuda")
    if "cpu" in names and any(name.startswith("cuda") for name in names):
        raise UsageError(
            f"device {device}: name GPUs or the CPU, not both, which compute in other precisions "
            "and artifacts"
        )
    chosen = tuple(_number(name, device) for name in names)
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"device {device}: a GPU is named twice; name each once")
    _choose(chosen)
    return Devices("cuda", len(chosen), ",".join(names))


def _number(name: str, device: str) -> int:
    match = re.fullmatch(r"cuda:(\d{1,4})", name)
    if match is None:
        raise UsageError(
            f"device {device}: use cpu, cuda, or a GPU by number such as cuda:1; several as "
            f"{ALL}, cuda:0,cuda:1 or cpu,cpu"
        )
    return int(match[1])


def _all() -> Devices:
    found = count()
    if found == 0:
        raise UsageError(
            f"there is no GPU here for {ALL}: the driver is absent or sees none; "
            "'hat-deploy doctor' says what this machine can run"
        )
    return Devices("cuda", found, ALL if found > 1 else "cuda")


def _choose(numbers: tuple[int, ...]) -> None:
    global _chosen
    if numbers == (_chosen or (0,)):
        return
    if _chosen or in_use():
        if _chosen or numbers != (*range(len(numbers)),):
            raise UsageError(
                f"{_names(numbers)} cannot be chosen any more: this process uses "
                f"{_names(_chosen or (0,))} already; set {VARIABLE}="
                f"{','.join(map(str, numbers))} before it starts, or use another process"
            )
        if count() >= len(numbers):
            return  # they are the first
    elif _shown_alone(numbers):
        _chosen = numbers
        return
    raise UsageError(
        f"there is no GPU {_names(numbers)} here: they are numbered from cuda:0, among those that "
        f"{VARIABLE} names if it is set ('nvidia-smi -L' lists what there is)"
    )


def _shown_alone(numbers: tuple[int, ...]) -> bool:
    """Hide all other GPUs from this process, if these exist."""
    before = os.environ.get(VARIABLE)
    names = None if before is None else [name.strip() for name in before.split(",")]
    if names is not None and max(numbers) >= len(names):
        return False
    wanted = [str(number) if names is None else names[number] for number in numbers]
    os.environ[VARIABLE] = ",".join(wanted)
    if count() == len(numbers):
        return True
    _restore(before)
    return False


def _names(numbers: tuple[int, ...]) -> str:
    return ",".join(f"cuda:{number}" for number in numbers)


def _restore(value: str | None) -> None:
    if value is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = value
