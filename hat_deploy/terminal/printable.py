"""Text from files, made safe for a terminal.

File names, tensor names, artifact metadata and journals hold what anybody wrote there: escape
sequences that move the cursor or retitle the window, marks that turn the direction of writing,
bytes of names that are not UTF-8 and so cannot be encoded. All of them are shown as escapes, in
one way: by :func:`printable` what a terminal would not show as itself, by :func:`whole_characters`
only what no file could hold. :func:`guard` puts the first in front of standard output and error,
so that whatever is printed passes through it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

LAYOUT = "\n\t"
"""What may lay out a text that is printed."""


def printable(text: str, keep: str = "") -> str:
    """The text with an escape for each character that a terminal would not show as itself.

    These are Unicode's classes of others (control, format, surrogate, private, unassigned) and
    of separators, but for the plain space. Bytes of names that are not UTF-8 become ``\\xff``.

    Args:
        keep: characters that stay although they are among those.

    >>> printable("a\\x1b[31m\\u202eb")
    'a\\\\x1b[31m\\\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def display_name(path: object) -> str:
    """A path on one printable line; what could not be printed is written as an escape.

    >>> display_name("a\\nb.png")
    'a\\\\nb.png'
    """
    return printable(str(path))


def whole_characters(text: str) -> str:
    """For a file: the text with an escape for each byte that is not UTF-8, and all else as it is.

    >>> whole_characters("a\\udcff\\n")
    'a\\\\xff\\n'
    """
    return "".join(_escape(c) if _is_a_byte(c) else c for c in text)


def _escape(character: str) -> str:
    if _is_a_byte(character):
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _is_a_byte(character: str) -> bool:
    """Whether it stands for a byte that is not UTF-8, as Python stores it in a name."""
    return "\udc80" <= character <= "\udcff"


class Guarded:
    """A text stream that writes printable text only; in all else the stream it wraps."""

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream
        """For what writes escape sequences of its own, and guards the text between them."""

    def write(self, text: str, /) -> int:
        """Write the text with newlines and tabs, everything else made printable."""
        self.raw.write(printable(text, keep=LAYOUT))
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    @property
    def encoding(self) -> str:
        """Never ASCII: callers would write around a stream that they think misconfigured."""
        name = self.raw.encoding or "utf-8"
        return "utf-8" if name.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968") else name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def guarded(stream: TextIO) -> TextIO:
    """The stream, writing printable text only; what its encoding lacks becomes an escape."""
    if isinstance(stream, Guarded):
        return stream
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return Guarded(stream)  # type: ignore[return-value]


def guard() -> None:
    """Guard standard output and error from here on, where there are any."""
    if sys.stdout is not None:
        sys.stdout = guarded(sys.stdout)
    if sys.stderr is not None:
        sys.stderr = guarded(sys.stderr)
