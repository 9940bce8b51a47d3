"""What tells the checkpoints of one architecture from those of others, and makes networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hat_deploy.errors import needed_for

with needed_for("Reading a checkpoint"):
    from torch import Tensor

from hat_deploy.networks.network import Network
from hat_deploy.networks.shape import Shape
from hat_deploy.networks.sizes import StateDict

S = TypeVar("S", bound=Shape)
N = TypeVar("N", bound=Network)


@dataclass(frozen=True, kw_only=True)
class Architecture(Generic[S, N]):
    """One architecture, as checkpoints show it."""

    name: str
    looked_for: tuple[str, ...]
    """Names that its weights have, for a message about weights that are no known network's."""
    claims: Callable[[StateDict], bool]
    """Whether weights are its own."""
    detect: Callable[[StateDict], S]
    """The shape of weights that are; raises CheckpointError where they make no network."""
    build: Callable[[S], N]
    """A network of a shape, with random weights."""
    is_derived: Callable[[str, Tensor, S], bool]
    """Whether a stored tensor, by its name, follows from the shape and is not needed."""
    stored: Callable[[N], dict[str, Tensor]]
    """The weights on the CPU with the buffers that the authors' files have."""

    @property
    def named(self) -> str:
        """Its name with its article: ``a HAT``, ``an EDSR``."""
        return f"{'an' if self.name[0] in 'AEIO' else 'a'} {self.name}"
