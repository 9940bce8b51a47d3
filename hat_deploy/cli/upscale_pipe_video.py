"""``hat-deploy upscale -`` for clips: Y4M or NUT from standard input, or to standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from hat_deploy.cli.streams import STREAM
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.terminal.printable import display_name

if TYPE_CHECKING:
    from rich.console import Console

    from hat_deploy.api import Upscaler
    from hat_deploy.folders import Options

INCOMPLETE = 3
"""Exit code of a run that finished, but could not read all of the clip."""
_STARTS = (b"YUV4MPEG2 ", b"nut/multimedia container")
"""What clips begin with that are read from a pipe."""


def starts_a_clip(start: bytes) -> bool:
    """Whether standard input brings a clip."""
    return start.startswith(_STARTS)


def pipe(
    source: Path,
    start: bytes,
    output: Path | None,
    upscaler: Upscaler,
    options: Options,
    *,
    form: str | None,
    console: Console,
) -> None:
    """Read, upscale and write one clip.

    Args:
        source: ``-`` for standard input.
        start: what has been read of it.
        output: None or ``-`` for standard output.
        form: ``y4m`` or ``nut``; None for that of standard input, or else Y4M.
        console: for notes.

    Raises:
        UsageError: the result would go to a file, or in another form.
        PictureError: the clip cannot be read, or its result cannot be written.
        typer.Exit: with 3, where the clip is damaged.
    """
    from hat_deploy.video.pipes import FORMS, Began, form_of, upscale_stream

    if output not in (None, STREAM):
        raise UsageError(
            f"-o {display_name(output)}: a clip from standard input goes to standard output, as "
            "Y4M or NUT; to a file, give the clip's own file"
        )
    chosen = form or form_of(start) or "y4m"
    if chosen not in FORMS:
        raise UsageError(
            f"--format {display_name(chosen)}: to standard output, a clip goes as "
            f"{' or '.join(FORMS)}"
        )
    name = "standard input" if source == STREAM else display_name(source)
    given = Began(sys.stdin.buffer, start) if source == STREAM else source
    try:
        with _standard_output() as out:
            notes, damages = upscale_stream(given, out, chosen, upscaler, options)
    except BrokenPipeError as error:
        raise PictureError(f"{name}: standard output is closed: nobody reads it") from error
    except OSError as error:
        raise PictureError(f"{name}: {error.strerror or error}") from error
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    for note in notes:
        console.print(f"note: {name}: {note}", soft_wrap=True)
    for damage in damages:
        typer.echo(f"damaged: {name}: {display_name(damage)}", err=True)
    if damages:
        raise typer.Exit(INCOMPLETE)


def _standard_output() -> BinaryIO:
    """Standard output for bytes, which says when nobody reads it any more."""
    sys.stdout.flush()
    return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
