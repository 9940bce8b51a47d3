"""A limit on what the stages of a run hold together."""

from __future__ import annotations

import threading
from collections import deque


class Closed(Exception):
    """The run is ending: no request is granted any more."""


class Budget:
    """Bytes and images that may be in progress at once, granted in the order of requests.

    Args:
        memory: bytes. A request for more is granted once nobody else holds any.
        images: how many may share it.
    """

    def __init__(self, memory: int, images: int) -> None:
        self.memory = memory
        self._images = images
        self._used = 0
        self._holders = 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.peak = 0

    def reserve(self, amount: int) -> None:
        """Wait until ``amount`` bytes are free and take them.

        Raises:
            Closed: :meth:`close` was called.
        """
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            self._changed.wait_for(
                lambda: self._closed or (self._line[0] is ticket and self._fits(amount))
            )
            self._line.remove(ticket)
            self._changed.notify_all()
            if self._closed:
                raise Closed
            self._holders += 1
            self._add(amount)

    def correct(self, reserved: int, needed: int) -> None:
        """Change a reservation once its real size is known; never waits."""
        with self._changed:
            self._add(needed - reserved)
            self._changed.notify_all()

    def release(self, amount: int) -> None:
        """Give a reservation back."""
        with self._changed:
            self._holders -= 1
            self._add(-amount)
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse everybody who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, amount: int) -> bool:
        if self._holders == 0:
            return True
        return self._holders < self._images and self._used + amount <= self.memory

    def _add(self, amount: int) -> None:
        self._used += amount
        self.peak = max(self.peak, self._used)
