"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from hat_deploy.errors import UsageError


@contextmanager
def temporary(folder: Path, suffix: str) -> Iterator[Path]:
    """A free path in ``folder``, made if need be; whatever is there at the end is removed.

    The name keeps ``suffix``, so that libraries which judge by it agree, and starts with a
    dot, so that folder runs ignore it.

    Raises:
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{token_hex(6)}.part{suffix}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when the block succeeds.

    On any error, Ctrl-C included, it is removed and an earlier ``target`` stays as it was.

    Raises:
        OSError: the folder cannot be made or written.
    """
    with temporary(target.parent, target.suffix) as partial:
        yield partial
        partial.replace(target)


def write(target: Path, content: bytes, what: str) -> None:
    """Write a file that the user asked for, whole or not at all.

    Args:
        target: replaced if it is there.
        what: it is, for the message: ``report``, ``plot``.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with replacing(target) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise UsageError(f"the {what} {target} cannot be written: {error.strerror}") from error
