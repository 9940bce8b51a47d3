"""A result's way to its name: a hidden folder beside it, a journal line, a rename."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

if sys.platform != "win32":
    import fcntl

_WORKSHOP = re.compile(r"\.hat-deploy-[0-9a-f]{12}\.part")


@contextmanager
def workshop(target: Path) -> Iterator[Path]:
    """A path to be filled and renamed to ``target``, in a folder that goes with the block.

    The folder is hidden, lies beside the target, holds whatever else a library leaves there,
    and is locked: :func:`sweep` knows it from one that a dead process left.

    Raises:
        OSError: the folder cannot be made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder, descriptor = _create(target.parent)
    try:
        yield folder / f"result{target.suffix}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep(folders: Iterable[Path]) -> int:
    """Remove what killed runs left in folders, and say how many pieces of work that were.

    Those of living processes stay; so do all where locks do not work.
    """
    removed = 0
    for folder in folders:
        try:
            names = [e.name for e in os.scandir(folder) if _WORKSHOP.fullmatch(e.name)]
        except OSError:
            continue
        removed += sum(_remove_abandoned(folder / name) for name in names)
    return removed


def _create(folder: Path) -> tuple[Path, int]:
    while True:
        made = folder / f".hat-deploy-{token_hex(6)}.part"
        made.mkdir()
        try:
            descriptor = os.open(made, os.O_RDONLY)
        except FileNotFoundError:
            continue  # swept away in the moment before it was locked
        _lock(descriptor, wait=True)
        try:
            if os.path.samestat(made.stat(), os.fstat(descriptor)):
                return made, descriptor
        except FileNotFoundError:
            pass  # as above
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not _lock(descriptor):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = False) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
