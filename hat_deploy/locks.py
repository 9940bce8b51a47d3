"""One process at a time, where the system can say so."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hat_deploy.files import open_plain

fcntl: Any = importlib.import_module("fcntl") if find_spec("fcntl") else None  # not on Windows


@contextmanager
def alone(path: Path, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Be the only one, among those who name the same path, inside the block.

    The lock goes with its process, however that ends. Where there are no locks (Windows, some
    network file systems) nobody waits: what is done inside must be safe without it.

    Args:
        path: of a file that is there while somebody is inside; its folder exists.
        on_wait: called once if somebody else is inside.

    Raises:
        UsageError: the path is a link, a pipe or the like.
    """
    told = False

    def tell() -> None:
        nonlocal told
        if not told:  # of several who wait, all but one find the next one inside
            told = True
            on_wait()

    while True:
        descriptor = open_plain(path, os.O_RDWR | os.O_CREAT, "lock file")
        try:
            held = _lock(descriptor, tell)
            if held and not _still_there(path, descriptor):
                continue  # the one before removed it: lock the one that others see
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, on_wait: Callable[[], object]) -> bool:
    """Whether the lock could be had; waits for it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True


def _still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
