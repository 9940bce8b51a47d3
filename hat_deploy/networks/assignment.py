"""Which layers of a network compute in half, as it was found and is kept.

Needs no torch: artifacts carry it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from hat_deploy.precision import Precision

if TYPE_CHECKING:
    from typing import Self

OWN = "(network)"
"""Stands for the name of the whole network: what it computes outside its layers."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The layers that stay in fp32, with the reason of each; all others compute in half."""

    precision: str
    """``fp16`` or ``bf16``: what half means."""
    layers: int
    """Layers that compute at all. A layer is a module with operations of its own."""
    wide: Mapping[str, str]
    """The layers in fp32, by name, with the reason."""
    scaled: tuple[str, ...]
    """Layers in half whose rows are divided by powers of two and multiplied afterwards; see
    :class:`hat_deploy.networks.scaled.Scaled`."""
    share: float
    """Share of the network's multi-adds that is in half."""
    psnr: float
    """Lowest against fp32 on the images of the search, in dB."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back from JSON types.

        Raises:
            ValueError: a value is missing, unknown, or of another kind.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(f"assignment is not an object of {', '.join(sorted(names))}")
        wide, scaled = values["wide"], values["scaled"]
        if not isinstance(wide, dict) or not all(isinstance(why, str) for why in wide.values()):
            raise ValueError("assignment: wide is not a reason for each layer")
        if not isinstance(scaled, list) or not all(isinstance(name, str) for name in scaled):
            raise ValueError("assignment: scaled is not a list of layers")
        for name in ("layers", "share", "psnr"):
            number = values[name]
            if type(number) not in (int, float) or not math.isfinite(number):
                raise ValueError(f"assignment: {name} is not a number")
        Precision.of(values["precision"])
        return cls(**{**values, "scaled": tuple(scaled)})

    @property
    def summary(self) -> str:
        """How much is in half, what is not and why, on one line."""
        start = f"{self.share:.1%} of the multi-adds in {self.precision}"
        if not self.wide:
            return f"{start}, all {self.layers} layers"
        kinds = Counter(reason.partition(":")[0] for reason in self.wide.values())
        why = "; ".join(f"{count} because {kind}" for kind, count in kinds.most_common())
        return f"{start}; of {self.layers} layers {len(self.wide)} stay in fp32: {why}"
