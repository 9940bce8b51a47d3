"""What C libraries print about damaged images, kept off the terminal.

libjpeg and libpng write their complaints to file descriptor 2 themselves, and OpenCV offers no
way to stop them. Pointing the descriptor elsewhere around each decode would swallow what other
threads write meanwhile; so a program does it once, before it starts any.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hat_deploy.terminal.printable import Guarded, guarded
from hat_deploy.terminal.streams import is_descriptor, lasting


@contextmanager
def libraries_silenced() -> Iterator[None]:
    """Leave the terminal to Python's ``sys.stderr`` for the length of the block.

    For a command to enter once: before it starts threads, and before anything (a ``Console``)
    takes hold of ``sys.stderr``. File descriptor 2 leads nowhere meanwhile, and ``sys.stderr`` is
    a stream of its own on what it led to. A library that ends the process is then known only by
    the exit status.

    Nothing is done where ``sys.stderr`` is not descriptor 2, as in a notebook or a test.
    """
    outer = sys.stderr
    if not is_descriptor(outer, 2):
        yield
        return
    outer.flush()
    own = lasting(os.dup(2), like=outer, own=True)
    safe = isinstance(outer, Guarded)
    with own as terminal, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = guarded(terminal) if safe else terminal
        try:
            yield
        finally:
            terminal.flush()
            os.dup2(terminal.fileno(), 2)
            sys.stderr = outer
