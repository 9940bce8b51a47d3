"""Processes that can be interrupted, whatever started the tests."""

from __future__ import annotations

import signal


def default() -> None:
    """For ``preexec_fn``: a shell that runs the tests in its background has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
