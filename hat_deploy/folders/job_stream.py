"""Jobs one by one, while their folder is still being listed: remote folders, and manifests.

A list knows all names before it gives a result its own. A stream does not, so a result's name
follows from its source's alone: a source that changes its format keeps the old one in its name,
``a-jpg.png`` for ``a.jpg``. So ten million names take no memory, and no name depends on others.
"""
# Strings and not paths, as in inputs:

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from hat_deploy.errors import UsageError
from hat_deploy.folders.inputs import Passed, find, is_folder, split_name
from hat_deploy.folders.job_list import Job, JobList, Rejected, base_of, forced_suffix
from hat_deploy.folders.journal import relative
from hat_deploy.folders.journal_segments import FOLDER
from hat_deploy.folders.places import listing
from hat_deploy.folders.places.remote import READ_ONLY, Location, Remote, inside
from hat_deploy.folders.places.stores import Missing, store_of
from hat_deploy.folders.shards import WHOLE, Shard
from hat_deploy.images.picture import SUFFIXES
from hat_deploy.terminal.printable import display_name
from hat_deploy.video.names import is_clip


@dataclass
class JobStream:
    """What a run will do, told while it is found.

    Iterated once: jobs, and what cannot be one.
    """

    roots: list[Location]
    """The folders that results go to."""
    found: Iterator[Job | Rejected] = field(repr=False)
    passed: Counter[Passed] = field(default_factory=Counter)
    """How much in the folders was passed over so far, by the reason."""
    distant: bool = True
    """Whether images or results are not on this machine."""

    def __iter__(self) -> Iterator[Job | Rejected]:
        return self.found


def stream_jobs(
    paths: Sequence[Location],
    *,
    mark: str,
    output: Location | None,
    recursive: bool,
    format: str | None = None,  # noqa: A002 - the option's name
) -> JobStream:
    """Pair every image that the paths lead to with its result, one after the other.

    Names of results as :func:`hat_deploy.folders.job_list.list_jobs` gives them, but for those
    that change their format. Nothing is written.

    Args:
        paths: files and folders, here and elsewhere.
        mark: what default names end in, as ``-x2``.
        output: the folder for results, or None.
        recursive: whether folders inside folders are read.
        format: a suffix that replaces the sources' own, with or without its dot.

    Raises:
        UsageError: a path does not exist, or its results would have no place.
        StoreError, MissingExtraError: a store cannot be read.
    """
    suffix = forced_suffix(format)
    require_writable(output)
    starts = [_start(path, mark, output, alone=len(paths) == 1) for path in paths]
    bases = [start.base for start in starts if start.folder]
    if len(set(bases)) < len(bases):
        raise UsageError("two of the folders have one name: upscale them one by one, each with -o")
    roots = list(dict.fromkeys(start.base for start in starts))
    passed: Counter[Passed] = Counter()

    def jobs() -> Iterator[Job | Rejected]:
        marked = mark if output is None else ""
        for start in starts:
            if not start.folder:
                name = renamed(start.path.name, suffix, marked)
                yield Job(start.path, start.base / name, start.base)
                continue
            for found in _below(start.path, roots, passed, recursive=recursive):
                if isinstance(found, Rejected):
                    yield found
                else:
                    place, name = found
                    yield Job(place, start.base / renamed(name, suffix), start.base)

    distant = any(isinstance(place, Remote) for place in (*paths, *roots))
    return JobStream(roots, jobs(), passed, distant)


def share_of(listed: JobList | JobStream, shard: Shard) -> JobList | JobStream:
    """What a shard does of a run. The name of a result inside its folder decides, or the source
    of what cannot be a job."""

    def mine(found: Job | Rejected) -> bool:
        if isinstance(found, Rejected):
            return shard.has(str(found.source))
        return shard.has(relative(found.target, found.root))

    if shard == WHOLE:
        return listed
    if isinstance(listed, JobStream):
        return replace(listed, found=filter(mine, listed.found))
    jobs, rejected = filter(mine, listed.jobs), filter(mine, listed.rejected)
    return replace(listed, jobs=list(jobs), rejected=list(rejected))


def found_in(listed: JobList | JobStream) -> Iterator[Job | Rejected]:
    """All that a list or a stream has, what cannot be a job included."""
    if isinstance(listed, JobStream):
        yield from listed
    else:
        yield from listed.rejected
        yield from listed.jobs


def renamed(name: str, suffix: str | None, mark: str = "") -> str:
    """What a result is called inside its folder.

    Args:
        name: of the source, inside the folder that was named.
        suffix: of the result, as ``.png``; None for the source's.
        mark: what the stem ends in.

    >>> renamed("sub/a.jpg", ".png"), renamed("a.png", ".png"), renamed("a.png", None, "-x2")
    ('sub/a-jpg.png', 'a.png', 'a-x2.png')
    """
    folder, slash, last = name.rpartition("/")
    stem, ending = split_name(last)
    if suffix is None or ending.lower() == suffix:
        return f"{folder}{slash}{stem}{mark}{ending}"
    return f"{folder}{slash}{stem}-{ending.removeprefix('.')}{mark}{suffix}"


def require_writable(output: Location | None) -> None:
    """Refuse a place for results that nothing can be written to.

    Raises:
        UsageError: it is a web address, or an image's file.
        Missing: there is no such bucket.
        StoreError: it cannot be looked at, as for want of credentials.
    """
    if not isinstance(output, Remote):
        return
    if output.scheme in READ_ONLY:
        raise UsageError(f"-o {display_name(output.url)}: a web address can only be read")
    try:
        store_of(output).is_folder(output)
    except Missing as error:
        if "no bucket" in str(error):
            raise


class _Start(NamedTuple):
    path: Location
    base: Location
    """The folder that its results go to."""
    folder: bool


def _start(path: Location, mark: str, output: Location | None, *, alone: bool) -> _Start:
    if isinstance(path, Path):
        if not os.path.lexists(path):
            raise UsageError(f"{display_name(path)} does not exist")
        folder = is_folder(path)
        if output is None or isinstance(output, Path):
            return _Start(path, base_of(path, mark, output, alone=alone), folder)
        return _Start(path, output if alone or not folder else output / path.name, folder)
    named = path.suffix.lower() in SUFFIXES
    if path.scheme in READ_ONLY:
        if not named:
            raise UsageError(
                f"{display_name(path.url)} does not end like an image, and a web address cannot "
                "be listed: name images one by one, or in a --manifest"
            )
        if output is None:
            raise UsageError(f"the result of {display_name(path.url)} needs a place: add -o FOLDER")
        return _Start(path, output, folder=False)
    folder = store_of(path).is_folder(path)
    if not folder and not named:
        raise UsageError(f"{display_name(path.url)} does not end like an image")
    if output is None:
        beside = path.with_name(f"{path.name}{mark}") if path.name else path / mark.lstrip("-")
        return _Start(path, beside if folder else path.parent, folder)
    return _Start(path, output if alone or not folder else output / path.name, folder)


def _below(
    folder: Location, roots: Sequence[Location], passed: Counter[Passed], *, recursive: bool
) -> Iterator[tuple[Location, str] | Rejected]:
    """The images below a folder, each with its path inside."""
    if isinstance(folder, Path):
        outputs = {os.path.realpath(root) for root in roots if isinstance(root, Path)}
        for found in find(folder, outputs, passed, recursive=recursive):
            if found.reason is not None:
                yield Rejected(Path(found.path), found.reason)
            elif is_clip(Path(found.path)):
                reason = "it is a clip, which is read from a disk and written to one"
                yield Rejected(Path(found.path), reason)
            else:
                yield Path(found.path), found.inside or ""
        return
    outputs = {f"{root}/" for root in roots if isinstance(root, Remote) and root != folder}
    for place in listing.objects(folder, recursive=recursive):
        name = inside(place, folder) or ""
        if name.startswith(".") or "/." in name:
            passed[Passed.HIDDEN] += not _is_journal(name)
        elif place.size is None:
            passed[Passed.FOLDER] += f"{place.url}/" not in outputs
        elif any(place.url.startswith(output) for output in outputs):
            continue
        elif split_name(name.rpartition("/")[2])[1].lower() not in SUFFIXES:
            passed[Passed.FOREIGN] += 1
        else:
            yield place, name


def _is_journal(name: str) -> bool:
    return name.split("/", 1)[0] == FOLDER
