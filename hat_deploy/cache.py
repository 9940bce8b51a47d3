"""What is made on the way and kept for the next time, in the user's cache folder.

That is artifacts for ``upscale --model``, models as OpenVINO compiled them, kernels that TensorRT
compiled or timed, and which artifacts passed their test here. An entry's name is the key of what it
was made from and the hash of what it contains, so that one rename publishes it and a damaged entry
gives itself away. The time of its last change is that of its last use. A process keeps a lock on
the artifacts it was given, and nobody removes what is locked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from hat_deploy.errors import UsageError
from hat_deploy.files import alone, hold, remove_unheld, sha256, temporary
from hat_deploy.machine import parse_bytes

SIZE_VARIABLE = "HAT_DEPLOY_CACHE_SIZE"
"""Environment variable: how much to keep, as ``512M`` or ``20G``."""
DEFAULT_SIZE = "10G"
GRACE = 3600.0
"""Seconds for which an entry that was used stays whatever the size: its user may not have
opened it yet."""
LEFT_BEHIND = 24 * 3600.0
"""Seconds after which an unfinished entry is known to belong to a process that was killed."""

_ENTRY = re.compile(r"[0-9a-f]{24}-[0-9a-f]{16}\.(onnx|plan|blob|kernels|timings|tested)")
_UNFINISHED = re.compile(r"\.[0-9a-f]{12}\.part\.(onnx|plan|blob|kernels|timings|tested|probe)")


KINDS = {
    ".onnx": "artifact",
    ".plan": "TensorRT plan",
    ".blob": "model compiled by OpenVINO",
    ".kernels": "kernels compiled by TensorRT",
    ".timings": "timings of TensorRT's kernels",
    ".tested": "note that an artifact passed its test",
}
"""What entries are, by their suffix."""


@dataclass(frozen=True)
class Entry:
    """Something that the cache keeps."""

    path: Path
    size: int
    """Bytes."""
    used: float
    """When it was used last, in seconds since 1970."""

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return KINDS[self.path.suffix]


def entries() -> list[Entry]:
    """What is kept, what was used last first.

    Raises:
        UsageError: there is no cache folder.
    """
    found = [Entry(path, size, used) for path, used, size in _stated(cache_folder(), _ENTRY)]
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def unused_for(seconds: float) -> list[Entry]:
    """The entries that were not used for so long.

    Raises:
        UsageError: there is no cache folder.
    """
    now = time.time()
    return [entry for entry in entries() if now - entry.used >= seconds]


def remove(unwanted: Iterable[Entry]) -> list[Entry]:
    """Remove entries; returns those that stay, because a process is using them.

    What killed processes left unfinished goes too.
    """
    _remove_left_behind(cache_folder())
    return [entry for entry in unwanted if not _remove(entry.path)]


def cache_folder() -> Path:
    """``$HAT_DEPLOY_CACHE``, else ``hat-deploy`` where this system keeps caches.

    That is ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux.

    Raises:
        UsageError: there is no home folder.
    """
    if explicit := os.environ.get("HAT_DEPLOY_CACHE"):
        return Path(explicit)
    try:
        return user_cache_path("hat-deploy", appauthor=False)
    except RuntimeError as error:
        raise UsageError(
            "this user has no home folder to keep a cache in: set HAT_DEPLOY_CACHE to a folder"
        ) from error


def size_limit() -> int:
    """Bytes that entries may take in all, from :data:`SIZE_VARIABLE`.

    Raises:
        UsageError: the variable is no amount.
    """
    limit = parse_bytes(SIZE_VARIABLE, os.environ.get(SIZE_VARIABLE) or DEFAULT_SIZE)
    assert limit is not None
    return limit


def fetch(
    made_from: Mapping[str, Any],
    suffix: str,
    make: Callable[[Path], object],
    on_wait: Callable[[], object] = lambda: None,
) -> Path:
    """The cached entry, made if there is none or if it is damaged.

    Of several processes that want the same entry, one makes it and the others wait for it.
    Where the system cannot let them wait, each makes one and publishes a whole file.

    Args:
        made_from: everything the content depends on, as JSON types: hashes, options, versions.
        suffix: of the entry, with its dot: ``.onnx``, ``.plan``, ``.blob``, ``.kernels``,
            ``.timings`` or ``.tested``.
        make: writes the entry to the path it is given.
        on_wait: called once if another process is making it.

    Raises:
        UsageError: it has to be made, and the cache folder cannot be written.
    """
    if entry := _found(made_from, suffix):
        return entry
    folder = cache_folder()
    _require_writable(folder)
    size_limit()
    with alone(folder / f".{_key(made_from)}.lock", on_wait):
        while True:
            entry = _found(made_from, suffix) or keep(made_from, suffix, make)
            if hold(entry):
                return entry


def _found(made_from: Mapping[str, Any], suffix: str) -> Path | None:
    """The entry, held by this process until it ends: it may read it again at any time."""
    entry = find(made_from, suffix)
    return entry if entry is not None and hold(entry) else None


def find(made_from: Mapping[str, Any], suffix: str) -> Path | None:
    """The whole entry, if there is one; its last use is now. Damaged ones are removed.

    Args:
        made_from, suffix: as for :func:`fetch`.

    Raises:
        UsageError: there is no cache folder.
    """
    for entry in _of_key(made_from, suffix):
        try:
            whole = entry.name == _entry_name(made_from, entry, suffix)
        except OSError:  # another process removed it, or it cannot be read
            continue
        with suppress(OSError):  # the folder may be for reading only
            if whole:
                os.utime(entry)
            else:
                entry.unlink()
        if whole:
            return entry
    return None


def keep(made_from: Mapping[str, Any], suffix: str, make: Callable[[Path], object]) -> Path:
    """Make an entry and remove what the limit then leaves no room for.

    Where another process has made it meanwhile, that one stays.

    Args:
        made_from, suffix, make: as for :func:`fetch`.

    Raises:
        OSError: the cache folder cannot be written.
        UsageError: there is no cache folder, or its limit is no amount.
    """
    with temporary(cache_folder(), suffix) as partial:
        make(partial)
        return find(made_from, suffix) or _publish(made_from, suffix, partial)


def replace(made_from: Mapping[str, Any], suffix: str, make: Callable[[Path], object]) -> Path:
    """As :func:`keep`, but the new entry takes the place of an earlier one of the same key."""
    with temporary(cache_folder(), suffix) as partial:
        make(partial)
        earlier = _of_key(made_from, suffix)
        entry = _publish(made_from, suffix, partial)
    for path in earlier:
        if path != entry:
            _remove(path)
    return entry


def _publish(made_from: Mapping[str, Any], suffix: str, partial: Path) -> Path:
    folder, limit = cache_folder(), size_limit()
    entry = partial.replace(folder / _entry_name(made_from, partial, suffix))
    _prune(folder, limit, entry)
    return entry


def _of_key(made_from: Mapping[str, Any], suffix: str) -> list[Path]:
    return _listed(cache_folder(), re.compile(f"{_key(made_from)}-.*{re.escape(suffix)}"))


def _prune(folder: Path, limit: int, made: Path) -> None:
    """Remove what was left behind, then whole entries, those unused for longest first.

    The one just made stays, and so do those used within the :data:`GRACE`.
    """
    _remove_left_behind(folder)
    now = time.time()
    entries = sorted(_stated(folder, _ENTRY), key=lambda entry: entry[1])
    total = sum(size for _, _, size in entries)
    for path, used, size in entries:
        if total <= limit:
            return
        if path != made and now - used > GRACE and _remove(path):
            total -= size


def _remove_left_behind(folder: Path) -> None:
    for path, changed, _ in _stated(folder, _UNFINISHED):
        if time.time() - changed > LEFT_BEHIND:
            _remove(path)


def _stated(folder: Path, names: re.Pattern[str]) -> Iterator[tuple[Path, float, int]]:
    """Files by name, each with the time of its last change and its size in bytes."""
    for path in _listed(folder, names):
        with suppress(OSError):  # another process removed it
            found = path.lstat()
            yield path, found.st_mtime, found.st_size


def _listed(folder: Path, names: re.Pattern[str]) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if names.fullmatch(path.name)]
    except OSError:
        return []


def _remove(path: Path) -> bool:
    """Whether it is gone; it stays where a process holds it, or it cannot be removed."""
    try:
        return remove_unheld(path)
    except OSError:
        return False


def _require_writable(folder: Path) -> None:
    try:
        with temporary(folder, ".probe") as probe:
            probe.touch()
    except OSError as error:
        raise UsageError(
            f"the cache folder {folder} cannot be written ({error.strerror}): "
            "set HAT_DEPLOY_CACHE to one that can, or export once and use --engine"
        ) from error


def _key(made_from: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(made_from), sort_keys=True).encode()).hexdigest()[:24]


def _entry_name(made_from: Mapping[str, Any], path: Path, suffix: str) -> str:
    return f"{_key(made_from)}-{sha256(path)[:16]}{suffix}"
