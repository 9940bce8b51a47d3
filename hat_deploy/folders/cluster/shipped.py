"""The artifact on its way: bytes in Ray's object store, and one file on each machine."""

from __future__ import annotations

import ray

from hat_deploy import cache
from hat_deploy.artifact import Artifact
from hat_deploy.errors import UsageError
from hat_deploy.files import sha256_of


class Shipped:
    """An artifact that was handed to Ray, which copies it once to each machine that asks.

    Raises:
        UsageError: its file cannot be read.
    """

    def __init__(self, artifact: Artifact, tile: tuple[int, int] | None) -> None:
        self._suffix = artifact.path.suffix.lower()
        self._tile = tile
        try:
            content = artifact.path.read_bytes()
        except OSError as error:
            raise UsageError(f"{artifact.path} cannot be read: {error.strerror}") from error
        self._sha256 = sha256_of(content)
        self._content = ray.put(content)

    def unpack(self) -> Artifact:
        """The artifact on this machine: a file in the user's cache, under its content's hash.

        One process writes it, and the others on the machine wait.

        Raises:
            UsageError: the cache cannot be written.
        """
        path = cache.fetch(
            {"artifact": self._sha256},
            self._suffix,
            lambda place: place.write_bytes(ray.get(self._content)),
        )
        return Artifact(path, self._tile)
