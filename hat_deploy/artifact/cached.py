"""What the cache's entries are, for people: artifacts describe themselves."""

from __future__ import annotations

from hat_deploy.artifact import SUFFIXES, describe
from hat_deploy.cache import Entry
from hat_deploy.errors import ArtifactError
from hat_deploy.geometry import tile_size


def title(entry: Entry) -> str:
    """``hat x4, fp32, any size, batch 1`` for an artifact; else what kind of entry it is."""
    if entry.path.suffix not in SUFFIXES:
        return entry.kind
    try:
        found = describe(entry.path)
    except ArtifactError:
        return f"{entry.kind}, damaged: it is made again when it is needed"
    size = "any size" if found.any_size else f"tile {tile_size(found.tile)}"
    return (
        f"{entry.kind}: {found.model} x{found.scale}, {found.precision}, {size}, "
        f"batch {found.batch}"
    )
