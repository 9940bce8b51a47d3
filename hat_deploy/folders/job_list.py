"""Which files a run reads, and where each result goes. Names and folders only, no pixels."""
# Strings and not paths, for there may be hundreds of thousands of names:
# ruff: noqa: PTH114, PTH116, PTH118, PTH119

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from hat_deploy.errors import UsageError
from hat_deploy.images.picture import SUFFIXES
from hat_deploy.terminal.printable import display_name

_DIGITS = re.compile("[0-9]+")


@dataclass(frozen=True)
class Job:
    """One picture to read and the file to write."""

    source: Path
    target: Path
    folder: Path | None = None
    """The folder of results that the target belongs to; None where it is the target's own."""

    @property
    def root(self) -> Path:
        """The folder that keeps the journal of this job."""
        return self.target.parent if self.folder is None else self.folder


@dataclass(frozen=True)
class Rejected:
    """A path that cannot be a job, and a clause that says why."""

    source: Path
    reason: str


@dataclass
class Plan:
    """What a run will do, in the order in which it will be done."""

    jobs: list[Job] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def plan(
    paths: Sequence[Path],
    *,
    scale: int,
    output: Path | None,
    recursive: bool,
    format: str | None = None,  # noqa: A002 - the option's name
    overwrite: bool = False,
) -> Plan:
    """Pair every picture that the paths name with its result. Nothing is written.

    Results go beside their sources: ``cat-x2.png`` for ``cat.png``, and the folder
    ``photos-x2/`` for ``photos/``. With ``output`` they go there: files by their names, one
    folder by its tree, and of several paths each folder by its tree under its name.

    Inside folders, foreign suffixes and hidden names are passed over; what merely looks like
    a picture (a dangling link, a pipe, a folder named ``x.png``) is rejected by name. Where
    results of this or an earlier run would lie inside an input, they are not read again; nor
    is ``cat-x2.png`` where ``cat.png`` is named too, as when a shell's ``*`` is run again.

    Args:
        paths: files and folders.
        scale: the factor that default names carry.
        output: the folder for results, or None.
        recursive: whether folders inside folders are read.
        format: a suffix that replaces the sources' own, with or without its dot.
        overwrite: whether results that exist will be redone. Then nothing that is named
            counts as a mere result: an input is never written over.

    Raises:
        UsageError: a path does not exist, or ``format`` is not one of ``SUFFIXES``.
    """
    suffix = _forced_suffix(format)
    result = Plan()
    wanted: list[Job] = []
    outputs = _outputs(paths, scale, output)
    results = set() if overwrite else _default_results(paths, scale, suffix)
    seen: set[str] = set()
    for path in paths:
        base = _base(path, scale, output, alone=len(paths) == 1)
        for found in _find(path, outputs, recursive=recursive):
            if found.place in seen:
                continue
            seen.add(found.place)
            if found.reason is not None:
                result.rejected.append(Rejected(Path(found.path), found.reason))
            elif found.link or found.place not in results:
                target = _target(found, base, scale, output, suffix)
                wanted.append(Job(Path(found.path), target, base))
    _settle(wanted, result)
    return result


def _forced_suffix(name: str | None) -> str | None:
    if name is None:
        return None
    suffix = "." + name.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        known = ", ".join(known.removeprefix(".") for known in SUFFIXES)
        raise UsageError(f"unknown format {display_name(name)!r}: expected one of {known}")
    return suffix


# What to read


class _Found(NamedTuple):
    """What a path leads to. Strings, for there may be hundreds of thousands."""

    path: str
    place: str
    """Where its name lies, whatever links lead to its folder; a link keeps its own name."""
    inside: str | None = None
    """Its path inside the folder that was named; None for what was named itself."""
    link: bool = False
    reason: str | None = None
    """Why it is no job; None if it is one."""


def _find(path: Path, outputs: set[str], *, recursive: bool) -> Iterator[_Found]:
    """The pictures of one path of the command line, and what there had to be rejected."""
    if not os.path.lexists(path):
        raise UsageError(f"{display_name(path)} does not exist")
    if _is_folder(path):
        yield from _walk(str(path), outputs, recursive=recursive)
        return
    reason = _unreadable(path)
    if reason is None and path.suffix.lower() not in SUFFIXES:
        reason = f"its name ends in none of {', '.join(SUFFIXES)}"
    yield _Found(str(path), _place(path), None, path.is_symlink(), reason)


def _walk(top: str, outputs: set[str], *, recursive: bool) -> Iterator[_Found]:
    """A folder: its pictures first, then its folders, each sorted by name, however deep.

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
                entries = [entry for entry in listed if not entry.name.startswith(".")]
        except OSError as error:
            why = f"it cannot be listed: {error.strerror or error}"
            yield _Found(folder, _place(Path(folder)), inside, reason=why)
            continue
        entries.sort(key=lambda entry: _order(entry.name))
        folders: list[tuple[bool, tuple[str, str, str]]] = []
        for entry in entries:
            place = os.path.join(real, entry.name)
            link = entry.is_symlink()
            is_folder = _is_folder(entry) if link else entry.is_dir(follow_symlinks=False)
            lies = os.path.realpath(place) if link else place
            if lies in outputs:
                continue
            if _split(entry.name)[1].lower() in SUFFIXES:
                whole = not link and entry.is_file(follow_symlinks=False)
                reason = _forbidden(entry) if whole else _unreadable(entry)
                yield _Found(entry.path, place, inside + entry.name, link, reason)
            elif is_folder:
                folders.append((link, (entry.path, lies, f"{inside}{entry.name}/")))
        if recursive:
            folders.sort(key=lambda found: found[0])
            waiting += [found for _, found in reversed(folders)]


def _order(name: str) -> tuple[str, str]:
    """Names in natural order, ``2`` before ``10``; the name itself decides between equals."""
    return _DIGITS.sub(_weight, name.casefold()) + "\1", name


def _weight(digits: re.Match[str]) -> str:
    """A number such that strings of numbers sort by value, and before all other characters."""
    stripped = digits[0].lstrip("0")
    return f"\0{chr(len(stripped))}{stripped}"


def _split(name: str) -> tuple[str, str]:
    """Stem and suffix of a file's name, as ``Path`` has them."""
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")


def _is_folder(path: Path | os.DirEntry[str]) -> bool:
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
        return f"it is {kind}, not a picture"
    return _forbidden(path)


def _forbidden(path: Path | os.DirEntry[str]) -> str | None:
    return None if os.access(path, os.R_OK) else "it cannot be read: Permission denied"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _place(path: Path) -> str:
    """Where a name lies, whatever links lead to its folder; a link keeps a name of its own."""
    if path.name in ("", ".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(path.parent), path.name)


# Where to write


def _beside(folder: Path, scale: int) -> Path:
    """``photos-x2`` for ``photos``; a folder given as ``.`` or ``..`` is named in full."""
    named = folder if folder.name not in ("", "..") else _real(folder)
    return named.with_name(f"{named.name}-x{scale}") if named.name else named / f"x{scale}"


def _outputs(paths: Sequence[Path], scale: int, output: Path | None) -> set[str]:
    """Folders that hold results, of this run or of an earlier one with default names."""
    folders = [_beside(path, scale) for path in paths if _is_folder(path)]
    results = {os.path.realpath(folder) for folder in [*folders, *([output] if output else [])]}
    return results - {os.path.realpath(path) for path in paths}


def _default_results(paths: Sequence[Path], scale: int, suffix: str | None) -> set[str]:
    """Where runs with default names put the results of the pictures among the paths."""
    results: set[str] = set()
    for path in paths:
        if path.suffix.lower() not in SUFFIXES or _is_folder(path):
            continue
        named = _Found(str(path), "")
        plain = _target(named, path.parent, scale, None, None)
        forced = _target(named, path.parent, scale, None, suffix)
        results |= {_place(plain), _place(forced)}
        if suffix is not None:
            results.add(_place(_with_source_suffix(Job(path, forced))))
    return results


def _base(path: Path, scale: int, output: Path | None, *, alone: bool) -> Path:
    """The folder that the results of one path of the command line go to."""
    folder = _is_folder(path)
    if output is None:
        return _beside(path, scale) if folder else path.parent
    if not folder or alone:
        return output
    name = path.name if path.name not in ("", "..") else _real(path).name
    return output / name if name else output


def _target(found: _Found, base: Path, scale: int, output: Path | None, suffix: str | None) -> Path:
    if found.inside is None:
        stem, ending = _split(os.path.basename(found.path))
        marked = f"-x{scale}" if output is None else ""
        return base / f"{stem}{marked}{suffix or ending}"
    folder, slash, name = found.inside.rpartition("/")
    stem, ending = _split(name)
    return Path(f"{base}/{folder}{slash}{stem}{suffix or ending}")


def _settle(wanted: list[Job], result: Plan) -> None:
    """Give every job a target of its own; what cannot get one is rejected."""
    lying = _Lying()
    inputs = {lying.file(job.source): job.source for job in wanted}
    ambiguous = _ambiguous(wanted, lying)
    taken: dict[str, Path] = {}
    for job in wanted:
        if ambiguous and lying.name(job.target) in ambiguous:
            job = replace(job, target=_with_source_suffix(job))
        place = lying.name(job.target)
        victim = inputs.get(lying.file(job.target))
        other = taken.get(place)
        if victim is not None or other is not None:
            whose = f"the input {victim}" if victim is not None else f"that of {other}"
            reason = f"its result would overwrite {display_name(whose)}"
            result.rejected.append(Rejected(job.source, reason))
        else:
            taken[place] = job.source
            result.jobs.append(job)


def _ambiguous(jobs: list[Job], lying: _Lying) -> set[str]:
    """Places that are the target of sources with different suffixes."""
    suffixes: dict[str, str] = {}
    found = set()
    for job in jobs:
        place = lying.name(job.target)
        suffix = _split(job.source.name)[1]
        if suffixes.setdefault(place, suffix) != suffix:
            found.add(place)
    return found


class _Lying:
    """Where names lie, with every folder looked at once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def name(self, path: Path) -> str:
        """The real path of a file that may be there or not."""
        text = str(path)
        if text not in self._names:
            folder, name = os.path.split(text)
            if folder not in self._folders:
                self._folders[folder] = os.path.realpath(folder)
            place = os.path.join(self._folders[folder], name)
            if name == ".." or os.path.islink(place):
                place = os.path.realpath(text)
            self._names[text] = place
        return self._names[text]

    def file(self, path: Path) -> tuple[int, int] | str:
        """The same for all names of one file: its inode, or its real path if there is none."""
        try:
            status = os.stat(path)
        except OSError:
            return self.name(path)
        return status.st_dev, status.st_ino


def _with_source_suffix(job: Job) -> Path:
    """``a-png.webp`` for ``a.png`` that becomes WebP."""
    suffix = job.source.suffix.removeprefix(".")
    return job.target.with_name(f"{job.target.stem}-{suffix}{job.target.suffix}")
