"""Standard output and error that outlive their reader."""

from __future__ import annotations

import errno
import io
import os
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)
"""What writing gives where nobody reads: a pipe's other end, or a terminal, is closed."""


class _Lasting(io.FileIO):
    """A descriptor that takes what nobody reads, and drops it."""

    def write(self, data: Any, /) -> int:
        """Write to whoever reads; a full disk is still an error."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return memoryview(data).nbytes


def lasting(descriptor: int, like: TextIO, *, own: bool = False) -> TextIO:
    """Text to a descriptor; where nobody reads it any more, it goes nowhere and nothing fails.

    What its encoding lacks is written as an escape.

    Args:
        like: has the encoding, and the habit of writing each line at once.
        own: whether closing the stream closes the descriptor.
    """
    raw = _Lasting(descriptor, "w", closefd=own)
    each_line = descriptor == 2 or own or bool(getattr(like, "line_buffering", False))
    return io.TextIOWrapper(
        io.BufferedWriter(raw), like.encoding, "backslashreplace", line_buffering=each_line
    )


def keep_descriptors() -> None:
    """Point standard streams that are closed at nothing.

    Else the next file that is opened, a result perhaps, would be the one that libraries print
    their complaints to.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def is_descriptor(stream: TextIO | None, descriptor: int) -> bool:
    """Whether a stream is that descriptor, and not a notebook's or a test's."""
    try:
        return stream is not None and stream.fileno() == descriptor
    except (AttributeError, OSError, ValueError):
        return False
