"""What a run asks of a place, on this machine or elsewhere."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hat_deploy import files
from hat_deploy.folders.places.remote import Location, Remote, inside
from hat_deploy.folders.places.stores import Missing, Standing, store_of


def exists(location: Location) -> bool:
    """Whether there is anything under a name.

    Raises:
        StoreError: that cannot be told.
    """
    if isinstance(location, Remote):
        return store_of(location).standing(location) is not None
    return os.path.lexists(location)


def holds(folder: Location, location: Location) -> bool:
    """Whether a name lies below a folder's, here or in a store."""
    if isinstance(folder, Remote):
        return isinstance(location, Remote) and inside(location, folder) is not None
    return isinstance(location, Path) and location.is_relative_to(folder)


def standing(location: Location) -> Standing:
    """Size and time of change; of a remote place as the listing told them, if one did.

    Raises:
        OSError, StoreError: there is nothing, or that cannot be told.
    """
    if not isinstance(location, Remote):
        status = location.stat()
        return Standing(status.st_size, status.st_mtime_ns)
    if location.size is not None:
        return Standing(location.size, location.mtime_ns or 0)
    found = store_of(location).standing(location)
    if found is None:
        raise Missing(f"{location} does not exist")
    return found


def sha256(location: Location) -> str:
    """SHA-256 of the content, in hexadecimal.

    Raises:
        OSError, StoreError: it cannot be read.
    """
    if isinstance(location, Remote):
        return files.sha256_of(store_of(location).read(location))
    return files.sha256(location)


def workshop(target: Location) -> Path:
    """The folder on a disk of this machine where a result is put together.

    It is the target's own; for remote ones a folder of this user among temporary files.
    """
    if isinstance(target, Path):
        return target.parent
    user = getattr(os, "geteuid", lambda: "user")()
    folder = Path(tempfile.gettempdir(), f"hat-deploy-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != getattr(os, "geteuid", lambda: 0)():
        raise PermissionError(f"{folder} is not this user's: set TMPDIR to another place")
    return folder
