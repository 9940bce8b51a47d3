"""Which files a run reads, and where each result goes. Names and folders only, no pixels."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hat_deploy.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""What the names of pictures end in, in any case."""


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
    seen: set[Path] = set()
    for path in paths:
        base = _base(path, scale, output, alone=len(paths) == 1)
        for found in _find(path, outputs, recursive=recursive):
            source = found.source if isinstance(found, Rejected) else found
            if (place := _place(source)) in seen:
                continue
            seen.add(place)
            if isinstance(found, Rejected):
                result.rejected.append(found)
            elif place not in results or found.is_symlink():
                target = _target(path, found, base, scale, output, suffix)
                wanted.append(Job(found, target, base))
    _settle(wanted, result)
    return result


def display_name(path: Path | str) -> str:
    """A path on one printable line; what could not be printed is written as an escape.

    >>> display_name("a\\nb.png")
    'a\\\\nb.png'
    """
    shown = []
    for character in str(path):
        if character.isprintable():
            shown.append(character)
        elif "\udc80" <= character <= "\udcff":
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")
        else:
            shown.append(character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def whole_characters(text: str) -> str:
    """Text that can be encoded: what stands for a byte of a name that is not UTF-8 is escaped."""
    return "".join(
        f"\\x{ord(character) - 0xDC00:02x}" if "\udc80" <= character <= "\udcff" else character
        for character in text
    )


def _forced_suffix(name: str | None) -> str | None:
    if name is None:
        return None
    suffix = "." + name.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        known = ", ".join(known.removeprefix(".") for known in SUFFIXES)
        raise UsageError(f"unknown format {display_name(name)!r}: expected one of {known}")
    return suffix


# What to read


def _find(path: Path, outputs: set[Path], *, recursive: bool) -> Iterator[Path | Rejected]:
    """The pictures of one path of the command line, and what there had to be rejected."""
    if not os.path.lexists(path):
        raise UsageError(f"{display_name(path)} does not exist")
    if _is_folder(path):
        yield from _walk(path, outputs, {_real(path)}, recursive=recursive)
    elif reason := _unreadable(path):
        yield Rejected(path, reason)
    elif path.suffix.lower() not in SUFFIXES:
        yield Rejected(path, f"its name ends in none of {', '.join(SUFFIXES)}")
    else:
        yield path


def _walk(
    folder: Path, outputs: set[Path], visited: set[Path], *, recursive: bool
) -> Iterator[Path | Rejected]:
    """One folder: its pictures first, then its folders, each sorted by name.

    Every real folder is entered once, however many links lead to it, so loops end; links
    come last, so that a folder is met under its own name where it has one here.
    """
    try:
        entries = sorted(folder.iterdir(), key=_order)
    except OSError as error:
        yield Rejected(folder, f"it cannot be listed: {error.strerror or error}")
        return
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    folders = [entry for entry in entries if _is_folder(entry) and _real(entry) not in outputs]
    for entry in entries:
        if entry.suffix.lower() in SUFFIXES and _real(entry) not in outputs:
            reason = _unreadable(entry)
            yield Rejected(entry, reason) if reason else entry
    for entry in sorted(folders, key=Path.is_symlink) if recursive else []:
        if entry.suffix.lower() not in SUFFIXES and (real := _real(entry)) not in visited:
            visited.add(real)
            yield from _walk(entry, outputs, visited, recursive=recursive)


def _order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Names in natural order, ``2`` before ``10``; the name itself decides between equals."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for character in path.name.casefold() + "\0":
        if "0" <= character <= "9":
            digits += character
            continue
        if digits:
            parts.append((0, len(digits.lstrip("0")), digits.lstrip("0")))
            digits = ""
        parts.append((1, ord(character), ""))
    return parts, path.name


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _unreadable(path: Path) -> str | None:
    """Why a path is no readable regular file; None if it is one. Opens nothing."""
    try:
        mode = path.stat().st_mode
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
    return None if os.access(path, os.R_OK) else "it cannot be read: Permission denied"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _place(path: Path) -> Path:
    """Where a name lies, whatever links lead to its folder; a link keeps a name of its own."""
    return _real(path.parent) / path.name if path.name not in ("", "..") else _real(path)


# Where to write


def _beside(folder: Path, scale: int) -> Path:
    """``photos-x2`` for ``photos``; a folder given as ``.`` or ``..`` is named in full."""
    named = folder if folder.name not in ("", "..") else _real(folder)
    return named.with_name(f"{named.name}-x{scale}") if named.name else named / f"x{scale}"


def _outputs(paths: Sequence[Path], scale: int, output: Path | None) -> set[Path]:
    """Folders that hold results, of this run or of an earlier one with default names."""
    folders = [_beside(path, scale) for path in paths if _is_folder(path)]
    results = {_real(folder) for folder in [*folders, *([output] if output else [])]}
    return results - {_real(path) for path in paths}


def _default_results(paths: Sequence[Path], scale: int, suffix: str | None) -> set[Path]:
    """Where runs with default names put the results of the pictures among the paths."""
    results: set[Path] = set()
    for path in paths:
        if path.suffix.lower() not in SUFFIXES or _is_folder(path):
            continue
        plain = _target(path, path, path.parent, scale, None, None)
        forced = _target(path, path, path.parent, scale, None, suffix)
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


def _target(
    path: Path, source: Path, base: Path, scale: int, output: Path | None, suffix: str | None
) -> Path:
    ending = suffix or source.suffix
    if path == source:
        marked = f"-x{scale}" if output is None else ""
        return base / f"{source.stem}{marked}{ending}"
    return base / source.relative_to(path).with_suffix(ending)


def _settle(wanted: list[Job], result: Plan) -> None:
    """Give every job a target of its own; what cannot get one is rejected."""
    inputs = {_identity(job.source): job.source for job in wanted}
    ambiguous = _ambiguous(wanted)
    taken: dict[Path, Path] = {}
    for job in wanted:
        if _real(job.target) in ambiguous:
            job = replace(job, target=_with_source_suffix(job))
        place = _real(job.target)
        victim = inputs.get(_identity(job.target))
        other = taken.get(place)
        if victim is not None or other is not None:
            whose = f"the input {victim}" if victim is not None else f"that of {other}"
            reason = f"its result would overwrite {display_name(whose)}"
            result.rejected.append(Rejected(job.source, reason))
        else:
            taken[place] = job.source
            result.jobs.append(job)


def _ambiguous(jobs: list[Job]) -> set[Path]:
    """Places that are the target of sources with different suffixes."""
    suffixes: dict[Path, set[str]] = {}
    for job in jobs:
        suffixes.setdefault(_real(job.target), set()).add(job.source.suffix)
    return {place for place, found in suffixes.items() if len(found) > 1}


def _with_source_suffix(job: Job) -> Path:
    """``a-png.webp`` for ``a.png`` that becomes WebP."""
    suffix = job.source.suffix.removeprefix(".")
    return job.target.with_name(f"{job.target.stem}-{suffix}{job.target.suffix}")


def _identity(path: Path) -> tuple[int, int] | Path:
    """The same for all names of one file: its inode, or its real path if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return _real(path)
    return status.st_dev, status.st_ino
