"""What the user named: an artifact, a checkpoint, a model that ships, or one of a hub."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hat_deploy import files
from hat_deploy.artifact import SUFFIXES, Artifact, hub, zoo
from hat_deploy.artifact.zoo import ShippedModel
from hat_deploy.errors import UsageError


@dataclass(frozen=True)
class Checkpoint:
    """Weights that the user named, by their file, as a model that ships or as one of a hub."""

    path: Path
    name: str
    """For people: of the model that ships, or of the file, without its suffix."""
    shipped: ShippedModel | None = None
    """The model whose weights these are; None for a file of the user's."""
    origin: str | None = None
    """Where they were downloaded from, ``hf:ORG/NAME@COMMIT/FILE``; None for what was here."""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, computed once."""
        return files.sha256(self.path)


def resolve(named: str | Path | Artifact | Checkpoint) -> Artifact | Checkpoint:
    """What a path or a name stands for; what is resolved already is its own answer.

    The suffix decides what is an artifact, whether or not the file is there.

    Raises:
        UsageError: there is no such file, and no model of that name.
        HatDeployError: a hub's model cannot be had; see :func:`hat_deploy.artifact.hub.find`.
    """
    if isinstance(named, (Artifact, Checkpoint)):
        return named
    return artifact_named(named) or checkpoint_named(named)


def artifact_named(named: str | Path) -> Artifact | None:
    """The artifact at a path, by its suffix, whether or not it is there; None for all else."""
    path = Path(named)
    if hub.names_one(named):
        return None
    return Artifact(path) if path.suffix.lower() in SUFFIXES else None


def checkpoint_named(named: str | Path) -> Checkpoint:
    """The file of a path, whatever it holds, the weights of a model that ships, or a hub's.

    Raises:
        UsageError: there is none of them.
        HatDeployError: a hub's model cannot be had; see :func:`hat_deploy.artifact.hub.find`.
    """
    if hub.names_one(named):
        found = hub.find(str(named))
        return Checkpoint(found.path, found.name, origin=found.origin)
    path = Path(named)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a checkpoint, .onnx or .plan was expected")
    if path.exists():
        return Checkpoint(path, path.stem)
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"there is no checkpoint {path}")
    shipped = zoo.find(str(named))
    return Checkpoint(shipped.checkpoint, shipped.name, shipped)
