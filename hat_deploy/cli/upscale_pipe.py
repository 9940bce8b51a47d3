"""``hat-deploy upscale -``: one image or clip from standard input, or to standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hat_deploy.cli import upscale_pipe_video as video
from hat_deploy.cli.streams import STREAM
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.terminal.printable import display_name
from hat_deploy.video.names import is_clip

if TYPE_CHECKING:
    from rich.console import Console

    from hat_deploy.api import Upscaler
    from hat_deploy.folders import Options

_LOOKED_AT = 32
"""Bytes of standard input that tell a clip from an image."""


def asked_for(paths: Sequence[Path], output: Path | None) -> bool:
    """Whether the image comes from standard input, or its result goes to standard output.

    Raises:
        UsageError: with more than one image, or from standard input to a place without a name.
    """
    if STREAM not in paths and output != STREAM:
        return False
    if len(paths) != 1 or paths[0].is_dir():
        raise UsageError("- stands for one image: name it alone, and its result with -o")
    if (output is None or output == STREAM) and sys.stdout.isatty():
        raise UsageError(
            "the result would go to the terminal: send it on, as in 'hat-deploy upscale - <in.png "
            ">out.png', or name a file with -o"
        )
    return True


def pipe(
    source: Path,
    output: Path | None,
    upscaler: Upscaler,
    options: Options,
    *,
    form: str | None,
    console: Console,
) -> None:
    """Read, upscale and write one image.

    Args:
        source: ``-`` for standard input.
        output: None or ``-`` for standard output.
        form: the format of the result, as ``png``; None for that of ``output``'s name, or else
            of the source.
        console: for notes.

    Raises:
        PictureError: the image cannot be read, or its result cannot be written.
    """
    from hat_deploy.folders.job_list import forced_suffix
    from hat_deploy.folders.single import upscale_bytes

    start = sys.stdin.buffer.read(_LOOKED_AT) if source == STREAM else b""
    if video.starts_a_clip(start) or is_clip(source):
        video.pipe(source, start, output, upscaler, options, form=form, console=console)
        return
    name = "standard input" if source == STREAM else display_name(source)
    to_stream = output is None or output == STREAM
    suffix = forced_suffix(form)
    if output is not None and not to_stream:
        suffix = _format_of(output, suffix, overwrite=options.overwrite)
    try:
        data = start + sys.stdin.buffer.read() if source == STREAM else source.read_bytes()
        result, notes = upscale_bytes(data, upscaler, options, suffix=suffix)
    except OSError as error:
        raise PictureError(f"{name}: it cannot be read: {error.strerror or error}") from error
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    for note in notes:
        console.print(f"note: {name}: {note}", soft_wrap=True)
    if output is None or to_stream:
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()
    else:
        _write(result, output)


def _format_of(output: Path, suffix: str | None, *, overwrite: bool) -> str:
    """The suffix of the file to write.

    Raises:
        UsageError: it is no image's, or not the one that was asked for; or the file exists.
    """
    from hat_deploy import images

    found = output.suffix.lower()
    if found not in images.FORMATS:
        known = ", ".join(images.FORMATS)
        raise UsageError(f"-o {display_name(output)}: expected a file that ends in one of {known}")
    if suffix not in (None, found):
        raise UsageError(
            f"-o {display_name(output)} and --format {suffix} name two formats: leave --format out"
        )
    if output.exists() and not overwrite:
        raise UsageError(f"{display_name(output)} exists: --overwrite replaces it")
    return found


def _write(result: bytes, output: Path) -> None:
    from hat_deploy.files import replacing

    try:
        with replacing(output) as partial:
            partial.write_bytes(result)
    except OSError as error:
        why = error.strerror or error
        raise PictureError(f"{display_name(output)}: it cannot be written: {why}") from error
