"""The jobs of a run: every image with the file its result goes to. Nothing is opened."""
# Strings and not paths, for there may be hundreds of thousands of names:
# ruff: noqa: PTH114, PTH116, PTH118, PTH119

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hat_deploy.errors import UsageError
from hat_deploy.folders.inputs import SUFFIXES, Found, Passed, find, is_folder, place_of, split_name
from hat_deploy.folders.places.remote import Location
from hat_deploy.images.picture import SUFFIXES as IMAGES
from hat_deploy.terminal.printable import display_name
from hat_deploy.video.names import CONTAINERS, is_clip, result_suffix

_WRITTEN = (*IMAGES, *CONTAINERS)
"""What the names of results may end in."""


@dataclass(frozen=True)
class Job:
    """One image to read and the file to write."""

    source: Location
    target: Location
    folder: Location | None = None
    """The folder of results that the target belongs to; None where it is the target's own."""

    @property
    def here(self) -> tuple[Path, Path]:
        """Source and target on this machine, where every clip's are."""
        assert isinstance(self.source, Path)
        assert isinstance(self.target, Path)
        return self.source, self.target

    @property
    def root(self) -> Location:
        """The folder that keeps the journal of this job."""
        return self.target.parent if self.folder is None else self.folder


@dataclass(frozen=True)
class Rejected:
    """A path that cannot be a job, and a clause that says why."""

    source: Location
    reason: str


@dataclass
class JobList:
    """What a run will do, in the order in which it will be done."""

    jobs: list[Job] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    passed: Counter[Passed] = field(default_factory=Counter)
    """How much in the folders was passed over, by the reason."""


def list_jobs(
    paths: Sequence[Path],
    *,
    mark: str,
    output: Path | None,
    recursive: bool,
    format: str | None = None,  # noqa: A002 - the option's name
    overwrite: bool = False,
) -> JobList:
    """Pair every image that the paths name with its result. Nothing is written.

    Results go beside their sources: ``cat-x2.png`` for ``cat.png``, and the folder
    ``photos-x2/`` for ``photos/``. With ``output`` they go there: files by their names, one
    folder by its tree, and of several paths each folder by its tree under its name. A name that
    ends like an image's is the result of the one image that is given.

    Inside folders, foreign suffixes, hidden names and what journals know as results of earlier
    runs are passed over and counted; what merely looks like
    an image (a dangling link, a pipe, a folder named ``x.png``) is rejected by name. Where
    results of this or an earlier run would lie inside an input, they are not read again; nor
    is ``cat-x2.png`` where ``cat.png`` is named too, as when a shell's ``*`` is run again.

    Args:
        paths: files and folders.
        mark: what default names end in, as ``-x2``.
        output: the folder for results, or None.
        recursive: whether folders inside folders are read.
        format: a suffix that replaces the sources' own, with or without its dot.
        overwrite: whether results that exist will be redone. Then nothing that is named
            counts as a mere result: an input is never written over.

    Raises:
        UsageError: a path does not exist, nothing is written in ``format``, or the file
            that ``output`` names is for one image of its format.
    """
    suffix = forced_suffix(format)
    result = JobList()
    if output is not None and names_a_file(output):
        return _one_file(paths, output, suffix)
    wanted: list[Job] = []
    outputs = _outputs(paths, mark, output)
    results = set() if overwrite else _default_results(paths, mark, suffix)
    seen: set[str] = set()
    for path in paths:
        base = base_of(path, mark, output, alone=len(paths) == 1)
        for found in find(path, outputs, result.passed, recursive=recursive):
            if found.place in seen:
                continue
            seen.add(found.place)
            if found.reason is not None:
                result.rejected.append(Rejected(Path(found.path), found.reason))
            elif found.link or found.place not in results:
                target = _target(found, base, mark, output, suffix)
                wanted.append(Job(Path(found.path), target, base))
    _settle(wanted, result)
    return result


def names_a_file(output: Path) -> bool:
    """Whether a place for results is one image's file: it ends like one, and is no folder."""
    return output.suffix.lower() in _WRITTEN and not is_folder(output)


def _one_file(paths: Sequence[Path], output: Path, suffix: str | None) -> JobList:
    if len(paths) != 1 or is_folder(paths[0]):
        raise UsageError(
            f"-o {display_name(output)} names one image's file, and more than one image was "
            "given: name a folder for the results"
        )
    if suffix is not None and suffix != output.suffix.lower():
        raise UsageError(
            f"-o {display_name(output)} and --format {suffix.removeprefix('.')} name two formats: "
            "leave --format out"
        )
    result = JobList()
    (found,) = find(paths[0], set(), result.passed, recursive=False)
    if found.reason is not None:
        result.rejected.append(Rejected(paths[0], found.reason))
    elif is_clip(paths[0]) != is_clip(output):
        kind, other = ("a clip", "an image") if is_clip(paths[0]) else ("an image", "a clip")
        result.rejected.append(Rejected(paths[0], f"it is {kind}, and -o names {other}'s file"))
    else:
        _settle([Job(paths[0], output)], result)
    return result


def forced_suffix(name: str | None) -> str | None:
    """The suffix of a format that was asked for, ``.jpg`` for ``jpg``; None for none.

    Raises:
        UsageError: nothing is written in it.
    """
    if name is None:
        return None
    suffix = "." + name.lower().removeprefix(".")
    if suffix not in _WRITTEN:
        known = ", ".join(known.removeprefix(".") for known in _WRITTEN)
        raise UsageError(f"unknown format {display_name(name)!r}: expected one of {known}")
    return suffix


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _beside(folder: Path, mark: str) -> Path:
    """``photos-x2`` for ``photos``; a folder given as ``.`` or ``..`` is named in full."""
    named = folder if folder.name not in ("", "..") else _real(folder)
    return named.with_name(f"{named.name}{mark}") if named.name else named / mark.lstrip("-")


def _outputs(paths: Sequence[Path], mark: str, output: Path | None) -> set[str]:
    """Folders that hold results, of this run or of an earlier one with default names."""
    folders = [_beside(path, mark) for path in paths if is_folder(path)]
    results = {os.path.realpath(folder) for folder in [*folders, *([output] if output else [])]}
    return results - {os.path.realpath(path) for path in paths}


def _default_results(paths: Sequence[Path], mark: str, suffix: str | None) -> set[str]:
    """Where runs with default names put the results of the images among the paths."""
    results: set[str] = set()
    for path in paths:
        if path.suffix.lower() not in SUFFIXES or is_folder(path):
            continue
        named = Found(str(path), "")
        plain = _target(named, path.parent, mark, None, None)
        forced = _target(named, path.parent, mark, None, suffix)
        results |= {place_of(plain), place_of(forced)}
        if suffix is not None:
            results.add(place_of(Path(str(_with_source_suffix(Job(path, forced))))))
    return results


def base_of(path: Path, mark: str, output: Path | None, *, alone: bool) -> Path:
    """The folder that the results of one path of the command line go to."""
    folder = is_folder(path)
    if output is None:
        return _beside(path, mark) if folder else path.parent
    if not folder or alone:
        return output
    name = path.name if path.name not in ("", "..") else _real(path).name
    return output / name if name else output


def _target(found: Found, base: Path, mark: str, output: Path | None, suffix: str | None) -> Path:
    if found.inside is None:
        stem, ending = split_name(os.path.basename(found.path))
        marked = mark if output is None else ""
        return base / f"{stem}{marked}{_ending(ending, suffix)}"
    folder, slash, name = found.inside.rpartition("/")
    stem, ending = split_name(name)
    return Path(f"{base}/{folder}{slash}{stem}{_ending(ending, suffix)}")


def _ending(own: str, forced: str | None) -> str:
    """What a result's name ends in: the format that was asked for, where it is of this kind."""
    if own.lower() in IMAGES:
        return forced if forced in IMAGES else own
    return forced if forced in CONTAINERS else result_suffix(own)


def _settle(wanted: list[Job], result: JobList) -> None:
    """Give every job a target of its own; what cannot get one is rejected."""
    locations = _Locations()
    inputs = {locations.file(job.source): job.source for job in wanted}
    ambiguous = _ambiguous(wanted, locations)
    taken: dict[str, Location] = {}
    for job in wanted:
        if ambiguous and locations.name(job.target) in ambiguous:
            job = replace(job, target=_with_source_suffix(job))
        place = locations.name(job.target)
        victim = inputs.get(locations.file(job.target))
        other = taken.get(place)
        if victim is not None or other is not None:
            whose = f"the input {victim}" if victim is not None else f"that of {other}"
            reason = f"its result would overwrite {display_name(whose)}"
            result.rejected.append(Rejected(job.source, reason))
        else:
            taken[place] = job.source
            result.jobs.append(job)


def _ambiguous(jobs: list[Job], locations: _Locations) -> set[str]:
    """Places that are the target of sources with different suffixes."""
    suffixes: dict[str, str] = {}
    found = set()
    for job in jobs:
        place = locations.name(job.target)
        suffix = split_name(job.source.name)[1]
        if suffixes.setdefault(place, suffix) != suffix:
            found.add(place)
    return found


class _Locations:
    """The real locations of names; every folder is looked up once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def name(self, path: Location) -> str:
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

    def file(self, path: Location) -> tuple[int, int] | str:
        """The same for all names of one file: its inode, or its real path if there is none."""
        try:
            status = os.stat(str(path))
        except OSError:
            return self.name(path)
        return status.st_dev, status.st_ino


def _with_source_suffix(job: Job) -> Location:
    """``a-png.webp`` for ``a.png`` that becomes WebP."""
    suffix = job.source.suffix.removeprefix(".")
    return job.target.with_name(f"{job.target.stem}-{suffix}{job.target.suffix}")
