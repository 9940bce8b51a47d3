"""What draws on a terminal, with colours and moving lines: the one place that makes a Console.

Text is text here: no markup is read in it, and each piece is made printable before the escape
sequences of its style are put around it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from hat_deploy.terminal.printable import Guarded, printable

Say = Callable[[str], None]

EVERY = 10.0
"""Seconds between two lines on what is being done, where there is no terminal."""


class SafeConsole(Console):
    """A console without markup that shows printable text only; a quiet one shows nothing."""

    def __init__(
        self, *, stderr: bool = False, width: int | None = None, quiet: bool = False
    ) -> None:
        super().__init__(
            stderr=stderr, width=width, quiet=quiet, markup=False, highlight=False, emoji=False
        )

    @property
    def file(self) -> IO[str]:
        """The stream itself: a guarded one would escape the sequences of styles too."""
        found = super().file
        return found.raw if isinstance(found, Guarded) else found

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As Rich renders it, with every text made printable."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text, keep="\n"), style)


@contextmanager
def status(console: Console | None = None) -> Iterator[Say]:
    """A moving line on standard error that says what is being done."""
    if console is None:
        console = SafeConsole(stderr=True)
    if console.is_terminal:
        with console.status(Text()) as line:
            yield lambda text: line.update(Text(text))
    else:
        with _lines(console) as say:
            yield say


@contextmanager
def _lines(console: Console) -> Iterator[Say]:
    """Where no line can move, one every few seconds, and none for what is soon done."""
    doing: list[str] = []
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(EVERY):
            if doing:
                console.print(doing[-1], soft_wrap=True)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield doing.append
    finally:
        ended.set()
        thread.join()
