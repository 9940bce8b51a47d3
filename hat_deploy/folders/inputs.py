"""Which image files the paths of a run lead to. Names and folders only, no pixels."""
# Strings and not paths, for there may be hundreds of thousands of names:
# ruff: noqa: PTH116, PTH118

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from hat_deploy.errors import HatDeployError, UsageError
from hat_deploy.folders.journal import JournalReader, is_journal
from hat_deploy.folders.journal_index import Entry
from hat_deploy.images.picture import SUFFIXES as IMAGES
from hat_deploy.terminal.printable import display_name
from hat_deploy.video.names import SUFFIXES as CLIPS

SUFFIXES = (*IMAGES, *CLIPS)
"""What the names of sources end in, in any case."""
_DIGITS = re.compile("[0-9]+")


class Found(NamedTuple):
    """What a path leads to. Strings, for there may be hundreds of thousands."""

    path: str
    place: str
    """Where its name lies, whatever links lead to its folder; a link keeps its own name."""
    inside: str | None = None
    """Its path inside the folder that was named; None for what was named itself."""
    link: bool = False
    reason: str | None = None
    """Why it is no job; None if it is one."""


class Passed(StrEnum):
    """Why something in a folder is passed over without a word on each."""

    RESULT = "results of earlier runs"
    FOREIGN = "files of other formats"
    HIDDEN = "hidden files and folders"
    FOLDER = "folders inside (--recursive enters them)"


def find(
    path: Path, outputs: set[str], passed: Counter[Passed], *, recursive: bool
) -> Iterator[Found]:
    """The images that one path leads to, and what has to be rejected.

    Args:
        outputs: real paths of folders that are not entered.
        passed: counts what is passed over.

    Raises:
        UsageError: the path does not exist.
    """
    if not os.path.lexists(path):
        raise UsageError(f"{display_name(path)} does not exist")
    if is_folder(path):
        with ExitStack() as stack:
            results = _Results(str(path), stack)
            yield from _walk(str(path), outputs, passed, results, recursive=recursive)
        return
    reason = _unreadable(path)
    if reason is None and path.suffix.lower() not in SUFFIXES:
        reason = f"its suffix is not one of {', '.join(SUFFIXES)}"
    yield Found(str(path), place_of(path), None, path.is_symlink(), reason)


class _Results:
    """What the journals of earlier runs say is a result.

    In the folder that was named, which may be one of results on purpose, that is only what lies
    beside its source: ``cat-x2.png`` where there is ``cat.png``.
    """

    def __init__(self, top: str, stack: ExitStack) -> None:
        self._top = top
        self._stack = stack
        self._journals: list[tuple[str, JournalReader]] = []

    def enter(self, folder: str, names: Iterable[str]) -> None:
        """Look at a folder's journal, if it has one."""
        if not any(map(is_journal, names)):
            return
        with suppress(HatDeployError, OSError):
            reader = self._stack.enter_context(JournalReader(Path(folder)))
            self._journals.append((folder, reader))

    def knows(self, folder: str, name: str) -> bool:
        """Whether a file is a result."""
        path = os.path.join(folder, name)
        for root, reader in self._journals:
            inside = root in (folder, self._top) or folder.startswith(root + os.sep)
            entry = reader.last(os.path.relpath(path, root)) if inside else None
            if entry is not None and (root != self._top or _lies_beside(entry)):
                return True
        return False


def _lies_beside(entry: Entry) -> bool:
    """Whether a result lies in the folder of its source."""
    return Path(os.path.normpath(entry.source)).parent == Path(entry.output).parent


def _walk(
    top: str, outputs: set[str], passed: Counter[Passed], results: _Results, *, recursive: bool
) -> Iterator[Found]:
    """A folder: its images first, then its folders, each sorted by name, however deep.

    Every real folder is entered once, however many links lead to it, so loops end; links
    come last, so that a folder is met under its own name where it has one here.
    """
    visited: set[str] = set()
    waiting = [(top, os.path.realpath(top), "")]
    while waiting:
        folder, real, inside = waiting.pop()
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(folder) as listed:
                everything = list(listed)
        except OSError as error:
            why = f"it cannot be listed: {error.strerror or error}"
            yield Found(folder, place_of(Path(folder)), inside, reason=why)
            continue
        entries = [entry for entry in everything if not entry.name.startswith(".")]
        results.enter(folder, {entry.name for entry in everything})
        passed[Passed.HIDDEN] += sum(
            not is_journal(entry.name) for entry in everything if entry.name.startswith(".")
        )
        entries.sort(key=lambda entry: _order(entry.name))
        folders: list[tuple[bool, tuple[str, str, str]]] = []
        for entry in entries:
            place = os.path.join(real, entry.name)
            link = entry.is_symlink()
            folder_there = is_folder(entry) if link else entry.is_dir(follow_symlinks=False)
            lies = os.path.realpath(place) if link else place
            if lies in outputs or (_is_named(entry.name) and results.knows(folder, entry.name)):
                passed[Passed.RESULT] += lies not in outputs
            elif _is_named(entry.name):
                whole = not link and entry.is_file(follow_symlinks=False)
                reason = _forbidden(entry) if whole else _unreadable(entry)
                yield Found(entry.path, place, inside + entry.name, link, reason)
            elif folder_there:
                folders.append((link, (entry.path, lies, f"{inside}{entry.name}/")))
            else:
                passed[Passed.FOREIGN] += 1
        if recursive:
            folders.sort(key=lambda found: found[0])
            waiting += [found for _, found in reversed(folders)]
        else:
            passed[Passed.FOLDER] += len(folders)


def _is_named(name: str) -> bool:
    """Whether a name is an image's."""
    return split_name(name)[1].lower() in SUFFIXES


def _order(name: str) -> tuple[str, str]:
    """Names in natural order, ``2`` before ``10``; the name itself decides between equals."""
    return _DIGITS.sub(_weight, name.casefold()) + "\1", name


def _weight(digits: re.Match[str]) -> str:
    """A number such that strings of numbers sort by value, and before all other characters."""
    stripped = digits[0].lstrip("0")
    return f"\0{chr(len(stripped))}{stripped}"


def split_name(name: str) -> tuple[str, str]:
    """Stem and suffix of a file's name, as ``Path`` has them."""
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")


def is_folder(path: Path | os.DirEntry[str]) -> bool:
    """Whether there is a folder, or a link to one."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False


def _unreadable(path: Path | os.DirEntry[str]) -> str | None:
    """Why a path is no readable regular file; None if it is one. Opens nothing."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "it is a link to a file that does not exist"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFREG: None,
    }
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    if kind is not None:
        return f"it is {kind}, not an image"
    return _forbidden(path)


def _forbidden(path: Path | os.DirEntry[str]) -> str | None:
    return None if os.access(path, os.R_OK) else "it cannot be read: Permission denied"


def place_of(path: Path) -> str:
    """Where a name lies, whatever links lead to its folder; a link keeps a name of its own."""
    if path.name in ("", ".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(path.parent), path.name)
