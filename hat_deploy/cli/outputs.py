"""Files that a command is asked to write, looked at before it does anything else."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from hat_deploy.errors import UsageError
from hat_deploy.networks.unstored import CHECKPOINTS, CONFIG_NAME

_PROBE = b"\0" * 4096
"""Enough to notice a disk that is full."""


def check(
    outputs: Mapping[str, Path | None],
    inputs: Iterable[Path | str | None],
    *,
    recursive: bool = False,
    streamed: bool = False,
) -> None:
    """Refuse to write over what is read, and where nothing can be written.

    Args:
        outputs: by the option that names them; None for one that was not given.
        inputs: what the command reads: files, folders of images, names of models that ship.
            Links and further names of a file are seen through.
        recursive: whether folders inside folders are read.
        streamed: whether outputs are written bit by bit where they are, not put into place at
            the end: then they may be a pipe or a device, and their folder has to exist.

    Raises:
        UsageError: an output is an input or another output, or cannot be written.
    """
    given = {option: path for option, path in outputs.items() if path is not None}
    for option, path in given.items():
        for other, earlier in given.items():
            if other == option:
                break
            if _same(path, earlier):
                raise UsageError(
                    f"{other} {_shown(earlier)} and {option} {_shown(path)} are one file: give "
                    "each a name of its own"
                )
    for option, path in given.items():
        _require_place(option, path, streamed=streamed)
    if given:
        _require_no_input(given, [source for source in inputs if source is not None], recursive)


def require_room(option: str, path: Path, size: int) -> None:
    """Refuse what the disk has no room for.

    Args:
        size: bytes that will be written, at least.

    Raises:
        UsageError: less is free.
    """
    free = shutil.disk_usage(_nearest(path.parent)).free
    if free < size:
        raise UsageError(
            f"{option} {_shown(path)}: about {size / 1e6:,.1f} MB will be written, and "
            f"{free / 1e6:,.1f} MB are free there: make room, or write elsewhere"
        )


def _require_no_input(given: Mapping[str, Path], inputs: list[Path | str], recursive: bool) -> None:
    there = {option: path for option, path in given.items() if path.exists()}
    for source in inputs:
        for file in _files(source, recursive) if there else _named(source):
            for option, path in given.items():
                if _same(path, file):
                    raise UsageError(
                        f"{option} {_shown(path)} would overwrite {_shown(file)}, which this "
                        "command reads: give it another name"
                    )


def _named(source: Path | str) -> Iterator[Path]:
    """The files of one input, folders left out."""
    path = Path(source)
    if path.exists() or path.is_symlink() or isinstance(source, Path):
        yield path
        if path.suffix.lower() in CHECKPOINTS:
            yield path.with_name(CONFIG_NAME)
        return
    from hat_deploy.artifact import zoo

    with suppress(UsageError):
        shipped = zoo.find(str(source))
        yield from (shipped.checkpoint, shipped.folder / CONFIG_NAME)


def _files(source: Path | str, recursive: bool) -> Iterator[Path]:
    """The files of one input; of a folder, all that are named like images or clips."""
    path = Path(source)
    if not path.is_dir():
        yield from _named(source)
        return
    from hat_deploy.folders.inputs import SUFFIXES

    visited: set[Path] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        visited.add(Path(folder).resolve())
        inner = folders if recursive else []
        folders[:] = [name for name in inner if (Path(folder) / name).resolve() not in visited]
        for name in names:
            if name.lower().endswith(SUFFIXES):
                yield Path(folder) / name


def _require_place(option: str, path: Path, *, streamed: bool) -> None:
    """Refuse a path that cannot be written; tries it, for permissions alone tell little."""
    try:
        mode: int | None = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise _refused(option, path, error) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"{option} {_shown(path)} is a folder: give the name of a file")
    if mode is not None and not stat.S_ISREG(mode):
        if streamed:
            return
        raise UsageError(
            f"{option} {_shown(path)} is a device or a pipe, and the file is put into place as a "
            "whole: give the name of a file"
        )
    try:
        if streamed and mode is not None:
            with path.open("ab"):
                return
        folder = path.parent if streamed else _nearest(path.parent)
        probe = folder / f".{token_hex(6)}.part"
        try:
            probe.write_bytes(_PROBE)
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(option, path, error) from error


def _refused(option: str, path: Path, error: OSError) -> UsageError:
    return UsageError(f"{option} {_shown(path)} cannot be written: {error.strerror or error}")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: the rest will be made."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _shown(path: Path) -> str:
    from hat_deploy.terminal.printable import display_name

    return display_name(path)
