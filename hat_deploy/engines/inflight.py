"""Several batches on their way at once: in which order, and how many fit. No device here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hat_deploy.engines.base import Arrays

RESERVE = 64 << 20
"""Bytes of GPU memory left to the driver: for streams, graphs and kernels that load later."""


class Slot(Protocol):
    """Room for one batch."""

    def submit(self, batch: Arrays) -> None:
        """Start a batch and return at once; its arrays may then be reused."""

    def collect(self) -> Arrays:
        """Wait for the batch; the result stands until the slot is given another."""

    def drain(self) -> None:
        """Wait until nothing is under way, whatever becomes of it."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """GPU memory of one slot, in bytes."""

    input: int
    output: int
    scratch: int
    """What the engine computes in; it depends on the tile and the batch."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.input + self.output + self.scratch


def slots_that_fit(need: Need, free: int, wanted: int) -> int:
    """How many of the wanted slots fit into the free memory, once the weights are there.

    Args:
        need: of one.
        free: bytes.
        wanted: at least 1.

    Returns:
        0 to ``wanted``.
    """
    return max(0, min(wanted, (free - RESERVE) // max(1, need.total)))


def keep_in_flight(slots: Sequence[Slot], batches: Iterable[Arrays]) -> Iterator[Arrays]:
    """Run batches through slots, in order, with every slot busy as long as batches last.

    A batch is asked for only once a slot is free for it: as many are taken before the first
    result as there are slots. A result stands until the next is asked for. However it ends, no slot
    is left at work.
    """
    idle, busy = deque(slots), deque[Slot]()
    try:
        for batch in batches:
            slot = idle.popleft()
            busy.append(slot)
            slot.submit(batch)
            if not idle:
                yield _next_result(busy, idle)
        while busy:
            yield _next_result(busy, idle)
    finally:
        for slot in busy:
            slot.drain()


def _next_result(busy: deque[Slot], idle: deque[Slot]) -> Arrays:
    result = busy[0].collect()
    idle.append(busy.popleft())
    return result
