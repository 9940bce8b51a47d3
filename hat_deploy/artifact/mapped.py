"""A file's bytes without reading them all."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hat_deploy.errors import ArtifactError


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The content of an artifact, for as long as the block lasts.

    Raises:
        ArtifactError: the file is empty.
    """
    if path.stat().st_size == 0:
        raise ArtifactError(f"{path} is empty: export it again")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
        yield m
