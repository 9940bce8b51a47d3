"""What a checkpoint does not store, and where it may be said instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hat_deploy.networks.shape import Shape

UNSTORED = ("conv_scale", "img_range", "qk_scale", "shift")
"""The fields that change a network's result and that no checkpoint stores."""
CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt")
"""Suffixes of files that may hold weights."""
CONFIG_NAME = "config.json"
"""The file beside a checkpoint that may say what the checkpoint does not: :data:`UNSTORED`."""


@dataclass(frozen=True, kw_only=True)
class Unstored:
    """What a checkpoint does not store, as a user gives it; None: as published.

    For the meaning see :class:`hat_deploy.networks.hat.config.HATConfig`.
    """

    conv_scale: float | None = None
    img_range: float | None = None
    qk_scale: float | None = None
    shift: bool | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not None."""
        values = {name: getattr(self, name) for name in UNSTORED}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def options(self) -> list[str]:
        """The command line's names of those that are given."""
        no = "no-" if self.shift is False else ""
        return [f"--{no if name == 'shift' else ''}{name.replace('_', '-')}" for name in self.given]


PUBLISHED = Unstored()
"""Nothing given: as published, or as a ``config.json`` beside the checkpoint says."""


def options_for(shape: Shape) -> str:
    """The options that say what a network's checkpoint does not store, for people."""
    of_attention = {"qk_scale": "qk_scale", "shift": "no_shift"}
    names = [*shape.in_use, *(of_attention[name] for name in of_attention if hasattr(shape, name))]
    *others, last = (f"--{name.replace('_', '-')}" for name in names)
    return f"{', '.join(others)} and {last}"


def is_finite_number(value: object) -> bool:
    """Whether it is an ``int`` (no ``bool``) or ``float`` that float32 arithmetic can use."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e38
