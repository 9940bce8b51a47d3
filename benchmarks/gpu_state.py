"""Clocks, power, temperature and throttling of a GPU while it is measured, from ``nvidia-smi``."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

EVERY_MS = 200
FIELDS = {
    "clocks.sm": "SM clock MHz",
    "clocks.mem": "memory clock MHz",
    "power.draw": "power W",
    "temperature.gpu": "temperature C",
}
REASONS = "clocks_throttle_reasons.active"
NONE, IDLE = 0x0, 0x1
"""Reasons, as a bit mask, that are no throttling: none, and a GPU with nothing to do."""


@contextmanager
def watched(address: str | None) -> Iterator[dict[str, Any]]:
    """Ask again and again while the block runs.

    Args:
        address: of the GPU on its bus; None: the first.

    Yields:
        What is filled when the block ends: the least, median and largest of each of
        :data:`FIELDS`, by its title, and the ``throttled`` share of the answers with its
        ``reasons`` as bit masks. Empty where ``nvidia-smi`` gives no answer.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join([*FIELDS, REASONS])}", f"-lms={EVERY_MS}"]
    command += ["--format=csv,noheader,nounits"] + ([f"--id={address}"] if address else [])
    found: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+") as answers:
        try:
            child = subprocess.Popen(command, stdout=answers, stderr=subprocess.DEVNULL)
        except OSError:
            yield found
            return
        try:
            yield found
        finally:
            child.kill()
            child.wait()
            answers.seek(0)
            found.update(summary(answers.read()))


def summary(text: str) -> dict[str, Any]:
    """What the lines say; a value that the driver does not know is a word in brackets."""
    rows = [[value.strip() for value in line.split(",")] for line in text.splitlines()]
    rows = [row for row in rows if len(row) == len(FIELDS) + 1]
    if not rows:
        return {}
    *columns, reasons = zip(*rows, strict=True)
    titled = zip(FIELDS.values(), map(_numbers, columns), strict=True)
    throttled = sorted({value for value in _masks(reasons) if value not in (NONE, IDLE)})
    share = np.mean([value in throttled for value in _masks(reasons)]) if throttled else 0.0
    return {
        title: {"least": min(v), "median": float(np.median(v)), "largest": max(v)}
        for title, v in titled
        if v
    } | {"throttled": float(share), "reasons": [hex(value) for value in throttled]}


def line(found: dict[str, Any]) -> str:
    """One line for people."""
    if not found:
        return "clocks, power, throttling: nvidia-smi gives no answer"
    parts = [
        f"{title} {each['least']:.0f} to {each['largest']:.0f}, median {each['median']:.0f}"
        for title, each in found.items()
        if isinstance(each, dict)
    ]
    reasons = f" ({', '.join(found['reasons'])})" if found["reasons"] else ""
    return "; ".join([*parts, f"throttled in {found['throttled']:.0%} of the answers{reasons}"])


def _numbers(values: tuple[str, ...]) -> list[float]:
    found = []
    for value in values:
        with suppress(ValueError):
            found.append(float(value))
    return found


def _masks(values: tuple[str, ...]) -> list[int]:
    found = []
    for value in values:
        with suppress(ValueError):
            found.append(int(value, 16))
    return found
