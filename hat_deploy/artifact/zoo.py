"""The models that ship: a folder each, with a card, a config, weights and a ready ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hat_deploy.artifact import Artifact
from hat_deploy.errors import UsageError

DEFAULT = "hat-nano-x2"
"""What ``upscale`` uses when it is told nothing."""


@dataclass(frozen=True)
class ShippedModel:
    """One folder of the zoo."""

    folder: Path

    @property
    def name(self) -> str:
        """As given to ``--model``."""
        return self.folder.name

    @property
    def checkpoint(self) -> Path:
        """The weights; ``config.json`` lies beside them."""
        return self.folder / "weights.safetensors"

    @property
    def onnx(self) -> Path:
        """The artifact at the default tile."""
        return self.folder / f"{self.name}.onnx"

    @cached_property
    def artifact(self) -> Artifact:
        """The one at :attr:`onnx`, read and hashed once."""
        return Artifact(self.onnx)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What :func:`hat_deploy.networks.shape_of` reads the network's shape back from."""
        loaded: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        return loaded

    @property
    def summary(self) -> str:
        """The first paragraph of the card, on one line."""
        card = (self.folder / "README.md").read_text(encoding="utf-8")
        paragraphs = [p for p in card.split("\n\n") if p.strip() and not p.startswith("#")]
        return " ".join(paragraphs[0].split())


def shipped() -> list[ShippedModel]:
    """Every model that ships, by name."""
    return [ShippedModel(card.parent) for card in sorted(_root().glob("*/README.md"))]


def find(name: str) -> ShippedModel:
    """The shipped model of that name.

    Raises:
        UsageError: there is none.
    """
    for model in shipped():
        if model.name == name:
            return model
    names = ", ".join(model.name for model in shipped())
    raise UsageError(
        f"'{name}' is neither a file nor a model that ships ({names}); "
        "give a checkpoint's path or one of these names"
    )


def _root() -> Path:
    """``models/`` inside the installed package, or beside it in a source tree."""
    package = Path(__file__).parents[1]
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"
