"""What the user named: an artifact, a checkpoint, or a model that ships."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hat_deploy import files
from hat_deploy.artifact import SUFFIXES, Artifact, zoo
from hat_deploy.artifact.zoo import ShippedModel
from hat_deploy.errors import UsageError


@dataclass(frozen=True)
class Checkpoint:
    """Weights that the user named, by their file or as a model that ships."""

    path: Path
    name: str
    """For people: of the model that ships, or of the file, without its suffix."""
    shipped: ShippedModel | None = None
    """The model whose weights these are; None for a file of the user's."""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, computed once."""
        return files.sha256(self.path)


def resolve(named: str | Path) -> Artifact | Checkpoint:
    """What a path or a name stands for; the suffix of an artifact decides, file or no file.

    Raises:
        UsageError: there is no such file, and no model of that name.
    """
    return artifact_named(named) or checkpoint_named(named)


def artifact_named(named: str | Path) -> Artifact | None:
    """The artifact at a path, by its suffix, whether or not it is there; None for all else."""
    path = Path(named)
    return Artifact(path) if path.suffix.lower() in SUFFIXES else None


def checkpoint_named(named: str | Path) -> Checkpoint:
    """The file of a path, whatever it holds, or the weights of a model that ships.

    Raises:
        UsageError: there is neither.
    """
    path = Path(named)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a checkpoint, .onnx or .plan was expected")
    if path.exists():
        return Checkpoint(path, path.stem)
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"there is no checkpoint {path}")
    shipped = zoo.find(str(named))
    return Checkpoint(shipped.checkpoint, shipped.name, shipped)
