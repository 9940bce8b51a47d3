"""Artifacts: files that run, ``.onnx`` and ``.plan``, each with a description of itself.

No library is needed to read one. What the user named is found out in
:mod:`hat_deploy.artifact.resolve`; what runs it is :func:`hat_deploy.engines.open_artifact`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hat_deploy import files
from hat_deploy.artifact import onnx_file, plan_file
from hat_deploy.artifact.description import (
    FORMAT,
    IO_KINDS,
    MADE_FOR,
    PEAK,
    PRECISIONS,
    Description,
)
from hat_deploy.artifact.onnx_file import METADATA_KEY
from hat_deploy.artifact.plan_file import PLAN_MARKER
from hat_deploy.errors import ArtifactError, about_its_file
from hat_deploy.geometry import default_halo

__all__ = [
    "FORMAT",
    "IO_KINDS",
    "MADE_FOR",
    "METADATA_KEY",
    "PEAK",
    "PLAN_MARKER",
    "PRECISIONS",
    "SUFFIXES",
    "Artifact",
    "Description",
    "describe",
]

SUFFIXES = (".onnx", ".plan")


@dataclass(frozen=True)
class Artifact:
    """A file that runs, made once where it is first named; it is read when first asked."""

    path: Path
    tile: tuple[int, int] | None = None
    """Height and width to cut large images into, for a file of any size; None: the file's own."""

    @classmethod
    def of(cls, named: Path | Artifact) -> Artifact:
        """The artifact at a path; an artifact is its own answer."""
        return named if isinstance(named, Artifact) else cls(named)

    @property
    def is_plan(self) -> bool:
        """Whether it is for TensorRT, by its suffix."""
        return self.path.suffix.lower() == ".plan"

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX file, by its suffix."""
        return self.path.suffix.lower() == ".onnx"

    @cached_property
    def description(self) -> Description:
        """What it says about itself, read once; of any size, with the tile that is asked for.

        Raises:
            ArtifactError: as :func:`describe`.
        """
        found = describe(self.path)
        if self.tile in (None, found.tile) or not found.any_size:
            return found
        halo = default_halo(self.tile, found.window, exact=found.averages is not None)
        return replace(found, tile=self.tile, halo=halo)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, computed once."""
        return files.sha256(self.path)


@about_its_file
def describe(path: Path) -> Description:
    """Read the description of an artifact; needs no engine, no GPU and no library.

    Raises:
        ArtifactError: the file is missing, damaged, of another kind, or was made by
            another tool.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file; an artifact (.onnx or .plan) was expected")
    if path.suffix.lower() == ".onnx":
        return onnx_file.read_description(path)
    if path.suffix.lower() == ".plan":
        return plan_file.read_description(path)
    raise ArtifactError(
        f"{path} has the suffix {path.suffix or '(none)'}; an artifact ends in .onnx or .plan"
    )
