"""Artifacts made on the way to ``upscale --model``, kept in the user's cache folder.

An entry's name is the key of what it was made from and the hash of what it contains, so that
one rename publishes it and a damaged entry gives itself away.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hat_deploy.artifact import sha256
from hat_deploy.errors import UsageError
from hat_deploy.files import temporary
from hat_deploy.locks import alone


def cache_folder() -> Path:
    """``$HAT_DEPLOY_CACHE``, else ``hat-deploy`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if explicit := os.environ.get("HAT_DEPLOY_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hat-deploy"


def fetch(
    made_from: Mapping[str, Any],
    suffix: str,
    make: Callable[[Path], object],
    on_wait: Callable[[], object] = lambda: None,
) -> Path:
    """The cached artifact, made if there is none or if it is damaged.

    Of several processes that want the same entry, one makes it and the others wait for it.
    Where the system cannot let them wait, each makes one and publishes a whole file.

    Args:
        made_from: everything the content depends on, as JSON types: hashes, options, versions.
        suffix: of the artifact, with its dot.
        make: writes the artifact to the path it is given.
        on_wait: called once if another process is making it.

    Raises:
        UsageError: the cache folder cannot be written.
    """
    folder = cache_folder()
    _require_writable(folder)
    key = _key(made_from)
    if entry := _whole_entry(folder, key, suffix):
        return entry
    with alone(folder / f".{key}.lock", on_wait):
        if entry := _whole_entry(folder, key, suffix):
            return entry
        with temporary(folder, suffix) as partial:
            make(partial)
            return partial.replace(folder / _entry_name(key, partial, suffix))


def has(made_from: Mapping[str, Any], suffix: str) -> bool:
    """Whether :func:`fetch` would have nothing to make; changes nothing."""
    key = _key(made_from)
    entries = cache_folder().glob(f"{key}-*{suffix}")
    return any(entry.name == _entry_name(key, entry, suffix) for entry in entries)


def _key(made_from: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(made_from), sort_keys=True).encode()).hexdigest()[:24]


def _whole_entry(folder: Path, key: str, suffix: str) -> Path | None:
    """The entry of a key; damaged ones are removed on the way."""
    for entry in folder.glob(f"{key}-*{suffix}"):
        try:
            if entry.name == _entry_name(key, entry, suffix):
                return entry
        except FileNotFoundError:  # another process removed it as damaged
            continue
        entry.unlink(missing_ok=True)
    return None


def _require_writable(folder: Path) -> None:
    try:
        with temporary(folder, ".probe") as probe:
            probe.touch()
    except OSError as error:
        raise UsageError(
            f"the cache folder {folder} cannot be written ({error.strerror}): "
            "set HAT_DEPLOY_CACHE to one that can, or export once and use --engine"
        ) from error


def _entry_name(key: str, path: Path, suffix: str) -> str:
    return f"{key}-{sha256(path)[:16]}{suffix}"
