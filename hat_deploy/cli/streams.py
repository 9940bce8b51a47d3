"""Standard input and output: their name, and what becomes of a command that nobody reads any more,
as in ``| head``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from hat_deploy.terminal.streams import is_descriptor, lasting

STREAM = Path("-")
"""Standard input or output, where a command is given it in place of a file."""


def end_with_the_reader() -> None:
    """For commands that only print: end without a word, as ``cat`` does."""
    if is_descriptor(sys.stdout, 1) and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def outlive_the_reader() -> None:
    """For commands that work: what is printed to nobody is dropped, and the work goes on."""
    if is_descriptor(sys.stdout, 1):
        sys.stdout.flush()
        sys.stdout = lasting(1, like=sys.stdout)
    if is_descriptor(sys.stderr, 2):
        sys.stderr.flush()
        sys.stderr = lasting(2, like=sys.stderr)
