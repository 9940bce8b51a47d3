"""Which GPU: every library here takes the first that is visible, so another is made the first."""

from __future__ import annotations

import os
import re

from hat_deploy.engines.cuda.driver import in_use, local_gpu
from hat_deploy.errors import UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that CUDA reads once, when a process first uses it."""

_chosen = 0


def settle(device: str) -> str:
    """``cpu`` and ``cuda`` as they are; with ``cuda:1`` this process, and all that it starts, sees
    the second GPU alone, which is ``cuda`` from then on.

    GPUs are numbered from 0 as CUDA does, among those that :data:`VARIABLE` names if it is set.

    Raises:
        UsageError: it is none of these, there is no such GPU, or this process uses another.
    """
    if device in ("cpu", "cuda"):
        return device
    match = re.fullmatch(r"cuda:(\d{1,4})", device)
    if match is None:
        raise UsageError(f"device {device}: use cpu, cuda, or a GPU by number such as cuda:1")
    _choose(int(match[1]))
    return "cuda"


def _choose(number: int) -> None:
    global _chosen
    if number == _chosen:
        return
    if _chosen or in_use():
        raise UsageError(
            f"cuda:{number} cannot be chosen any more: this process uses cuda:{_chosen} already; "
            f"set {VARIABLE}={number} before it starts, or use another process"
        )
    before = os.environ.get(VARIABLE)
    names = None if before is None else [name.strip() for name in before.split(",")]
    if names is None or number < len(names):
        os.environ[VARIABLE] = str(number) if names is None else names[number]
        if local_gpu() is not None:
            _chosen = number
            return
        _restore(before)
    raise UsageError(
        f"there is no GPU cuda:{number} here: they are numbered from cuda:0, among those that "
        f"{VARIABLE} names if it is set ('nvidia-smi -L' lists what there is)"
    )


def _restore(value: str | None) -> None:
    if value is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = value
