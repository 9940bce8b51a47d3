"""Objects read, written and looked up through fsspec; what fails for a moment is tried again."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hat_deploy.errors import HatDeployError, needed_for
from hat_deploy.folders.places.patience import ATTEMPTS, causes, patiently
from hat_deploy.folders.places.remote import LIBRARIES, READ_ONLY, Remote
from hat_deploy.terminal.printable import display_name

CONNECTIONS = 64
"""At once, of one store."""
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or give the machine a "
    "role",
    "gs": "run 'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY",
}
_UNKNOWN_CALLER = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "CredentialUnavailableError",
    "ClientAuthenticationError",
)
"""Classes of errors, of several libraries, for credentials that are not there."""
_OPTIONS: dict[str, dict[str, Any]] = {
    # What botocore and s3fs would try again, this module does, with all else.
    "s3": {
        "config_kwargs": {
            "max_pool_connections": CONNECTIONS,
            "retries": {"total_max_attempts": 1},
            "connect_timeout": 20,
            "read_timeout": 60,
        }
    },
}
_OWN_PATIENCE = ("gs", "az")
"""Schemes whose libraries try again by themselves, as their makers advise."""
_T = TypeVar("_T")


class StoreError(HatDeployError):
    """Something in a store that cannot be read, written or listed."""


class Missing(StoreError):
    """An object, a folder or a bucket that does not exist."""


@dataclass(frozen=True)
class Standing:
    """What is known of an object."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of change in whole seconds, which is what stores tell, with a number made of the ETag
    below: an object may be replaced twice in one second. 0 where the store tells neither."""


class Store:
    """All objects under one scheme. For any thread: as many calls go on at once as are made.

    Args:
        scheme: one of :data:`hat_deploy.folders.places.remote.LIBRARIES`.

    Raises:
        MissingExtraError: its library is not installed.
        StoreError: it does not open, as for want of credentials.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        library = LIBRARIES[scheme]
        with needed_for(f"Reading and writing {scheme}://", library=library):
            __import__(library)
            import fsspec
        try:
            self.files: Any = fsspec.filesystem(
                scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {})
            )
        except Exception as error:
            raise told(error, Remote(f"{scheme}://")) from error
        if scheme == "s3":
            self.files.retries = 1

    def standing(self, location: Remote) -> Standing | None:
        """What is known of an object; None if there is none.

        Raises:
            StoreError: that cannot be told.
        """
        try:
            found = self.ask(location, lambda: self._info(location))
        except Missing:
            return None
        return None if found.get("type") == "directory" else standing_of(found)

    def is_folder(self, location: Remote) -> bool:
        """Whether there are objects below a name; False for an object's own.

        Raises:
            Missing: there is neither.
            StoreError: that cannot be told.
        """
        found = self.ask(location, lambda: self.files.info(self.path(location)))
        return bool(found["type"] == "directory")

    def read(self, location: Remote, *, first: int | None = None) -> bytes:
        """An object's content, or its first bytes.

        Raises:
            StoreError: it cannot be read.
        """
        path = self.path(location)
        data: bytes = self.ask(location, lambda: self.files.cat_file(path, end=first))
        return data

    def upload(self, path: Path, location: Remote) -> None:
        """Make a file an object, whole or not at all; one that is there is replaced.

        Raises:
            StoreError: it cannot be written.
        """
        self.ask(location, lambda: self.files.put_file(str(path), self.path(location)))

    def write(self, data: bytes, location: Remote) -> None:
        """Make bytes an object, as :meth:`upload`."""
        self.ask(location, lambda: self.files.pipe_file(self.path(location), data))

    def remove(self, locations: Iterable[Remote]) -> None:
        """Remove objects; those that are gone already will do.

        Raises:
            StoreError: one cannot be removed.
        """
        for location in locations:
            try:
                self.ask(location, partial(self.files.rm_file, self.path(location)))
            except Missing:
                continue

    def ask(self, location: Remote, call: Callable[[], _T]) -> _T:
        """Do something with a place, patiently.

        Raises:
            Missing, StoreError: it cannot be done; the message names the place.
        """
        try:
            return patiently(call, 1 if self.scheme in _OWN_PATIENCE else ATTEMPTS)
        except HatDeployError:
            raise
        except Exception as error:
            raise told(error, location) from error

    def path(self, location: Remote) -> str:
        """What fsspec calls a place."""
        return location.url if self.scheme in READ_ONLY else location.url.partition("://")[2]

    def _info(self, location: Remote) -> Any:
        path = self.path(location)
        if self.scheme != "s3":
            return self.files.info(path)
        # s3fs lists after a name that is not there, which costs ten times a look.
        bucket, _, key = path.partition("/")
        found = self.files.call_s3("head_object", Bucket=bucket, Key=key)
        return {**found, "size": found["ContentLength"]}


def standing_of(info: dict[str, Any]) -> Standing:
    """What a store told of an object, in its own words."""
    changed: Any = None
    for name in ("LastModified", "last_modified", "mtime", "updated", "Last-Modified"):
        if (changed := info.get(name)) is not None:
            break
    if isinstance(changed, str):
        changed = _time(changed)
    seconds = changed.timestamp() if isinstance(changed, datetime) else changed or 0
    tag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    below = zlib.crc32(tag.encode()) % 10**9 if tag else 0
    return Standing(int(info.get("size") or 0), int(seconds) * 10**9 + below)


def told(error: BaseException, location: Remote) -> StoreError:
    """A library's error as a sentence about the place."""
    place = display_name(location.url)
    names = {base.__name__ for one in causes(error) for base in type(one).__mro__}
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if names & set(_UNKNOWN_CALLER) or "account_name" in text:
        how = _CREDENTIALS.get(location.scheme, "the server asks for them")
        return StoreError(f"{place}: no credentials were found: {how}")
    if "NoSuchBucket" in text or "bucket does not exist" in text.lower():
        return Missing(f"{place}: there is no bucket {display_name(location.bucket)}")
    if isinstance(error, FileNotFoundError):
        return Missing(f"{place} does not exist")
    if isinstance(error, PermissionError):
        return StoreError(f"{place}: the store refuses access: {display_name(text)}")
    return StoreError(f"{place}: {type(error).__name__}: {display_name(text)}")


def store_of(location: Remote) -> Store:
    """The store of a place, opened when first asked for.

    Raises:
        MissingExtraError, StoreError: as :class:`Store`.
    """
    with _guard:
        if location.scheme not in _open:
            _open[location.scheme] = Store(location.scheme)
        return _open[location.scheme]


_guard = threading.Lock()
_open: dict[str, Store] = {}


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        try:
            return parsedate_to_datetime(text)
        except ValueError:
            return None
