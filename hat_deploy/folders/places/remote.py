"""Names of what lies in a bucket or on the web. Nothing is opened, nothing heavy is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from hat_deploy.errors import UsageError
from hat_deploy.terminal.printable import display_name

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "https": "aiohttp", "http": "aiohttp"}
"""The library behind each scheme that a name may begin with."""
READ_ONLY = ("https", "http")
"""Schemes under which nothing can be written or listed."""
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Remote:
    """An object or a folder of them, with the part of ``pathlib.Path`` that a run needs."""

    url: str
    """As ``s3://bucket/in/a.png``; a folder has no slash at its end."""
    size: int | None = field(default=None, compare=False)
    """Bytes, where a listing told them."""
    mtime_ns: int | None = field(default=None, compare=False)
    """Time of change, where a listing told it."""

    def __str__(self) -> str:
        return self.url

    @property
    def scheme(self) -> str:
        """``s3``, ``gs``, ``az``, ``https`` or ``http``."""
        return self.url.partition("://")[0]

    @property
    def bucket(self) -> str:
        """The bucket, container or host."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def name(self) -> str:
        """What comes last; empty for a bucket. Of a web address without its query."""
        path = self.url.partition("://")[2].partition("/")[2]
        if self.scheme in READ_ONLY:
            path = unquote(re.split(r"[?#]", path, maxsplit=1)[0])
        return path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """``.png``, as it is written."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Remote:
        """The folder it lies in; a bucket is its own."""
        above = self.url.rpartition("/")[0]
        return self if above.endswith("/") or not above else Remote(above)

    def with_name(self, name: str) -> Remote:
        """The same place under another name."""
        return Remote(f"{self.parent.url}/{name}")

    def __truediv__(self, inside: str) -> Remote:
        return Remote(f"{self.url}/{inside}")


Location = Path | Remote
"""A file or folder on a disk of this machine, or elsewhere."""


def located(text: str) -> Location:
    """What the user named, as a path or, with a scheme before it, as a remote place.

    Raises:
        UsageError: the scheme is unknown, or nothing follows it.
    """
    match = _SCHEME.fullmatch(text)
    if match is None:
        return Path(text)
    scheme, rest = match.groups()
    if scheme not in LIBRARIES:
        known = ", ".join(f"{known}://" for known in LIBRARIES)
        raise UsageError(
            f"{display_name(text)}: {scheme}:// is none of {known}, and not a path on this machine"
        )
    if not rest.strip("/"):
        raise UsageError(f"{display_name(text)} names no bucket: write {scheme}://bucket/folder/")
    return Remote(f"{scheme}://{rest.rstrip('/')}")


def inside(location: Remote, folder: Remote) -> str | None:
    """The path of a place inside a folder; None if it does not lie there."""
    head = folder.url + "/"
    return location.url[len(head) :] if location.url.startswith(head) else None
