"""An engine with a thread of its own, which opens it, runs it and closes it."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from hat_deploy.engines.base import Engine
from hat_deploy.errors import UsageError

_T = TypeVar("_T")
NAME = "hat-deploy engine"
"""Of each such thread."""


class EngineThread:
    """The engine and its thread: CUDA's current device and pycuda's current context are a thread's.

    Args:
        open_: opens the engine; called in the thread, which lives until :meth:`close`.

    Raises:
        Exception: what ``open_`` raised; the thread has then ended.
    """

    def __init__(self, open_: Callable[[], Engine]) -> None:
        self._process = os.getpid()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # A daemon: a program that never closes its engine must be able to exit.
        self._thread = threading.Thread(target=self._work, name=NAME, daemon=True)
        self._thread.start()
        try:
            self.engine = self.begin(open_).result()
        except Exception:
            self._end()
            raise
        except BaseException:  # an interrupt: opening may take minutes, and is not waited for
            self._calls.put(None)
            raise

    def begin(self, call: Callable[[], _T]) -> Future[_T]:
        """Have something done in the thread, after what was begun before.

        Raises:
            UsageError: the thread is in the process that this one was forked from.
        """
        if os.getpid() != self._process:
            raise UsageError(
                "this process was forked from the one that opened these engines, whose threads "
                "do not run in a copy: open engines of its own in each process"
            )
        answer: Future[_T] = Future()

        def work() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:  # told to who asked
                answer.set_exception(error)

        self._calls.put(work)
        return answer

    def close(self) -> None:
        """Close the engine and end the thread; a process that was forked leaves both alone."""
        if os.getpid() != self._process or not self._thread.is_alive():
            return
        try:
            self.begin(lambda: self.engine.__exit__(None, None, None)).result()
        finally:
            self._end()

    def _end(self) -> None:
        self._calls.put(None)
        with suppress(RuntimeError):  # it is this thread
            self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # it may hold what was computed
