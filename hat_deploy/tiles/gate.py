"""Who may use a loaded model: one caller at a time, in its own process, until it is closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hat_deploy.errors import UsageError


class Gate:
    """Lets callers in one after another; those of other threads wait."""

    def __init__(self) -> None:
        # Not a lock that its holder may take again: an engine is no place for two streams.
        self._lock = threading.Lock()
        self._holder: int | None = None
        self._process = os.getpid()
        self._closed = self._let_go = False

    def check(self) -> None:
        """Refuse what would fail or never end.

        Raises:
            UsageError: the model was closed, or loaded by the process that this one was forked
                from: an engine's threads are not there in a copy of it.
        """
        if self._closed:
            raise UsageError("this Upscaler is closed: open another one")
        if os.getpid() != self._process:
            raise UsageError(
                "this process was forked from the one that opened this Upscaler, whose engine "
                "does not run in a copy: open an Upscaler of its own in each process"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Use the model inside the block.

        Raises:
            UsageError: as :meth:`check`, or this thread is using it already.
        """
        self.check()
        self._refuse_nested()
        with self._lock:
            self.check()  # it may have been closed while this one waited
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None

    def close(self, let_go: Callable[[], object]) -> None:
        """Let nobody in any more, and let go of the model once nobody uses it.

        Does nothing the second time, and in a forked process, which cannot end the engine.

        Args:
            let_go: called once.

        Raises:
            UsageError: this thread is using it.
        """
        self._refuse_nested()
        self._closed = True
        if os.getpid() != self._process:
            return
        with self._lock:
            if not self._let_go:
                self._let_go = True
                let_go()

    def _refuse_nested(self) -> None:
        if self._holder == threading.get_ident():
            raise UsageError(
                "this Upscaler is at work for this very thread, which called it from a callback: "
                "call it when that call has returned"
            )
