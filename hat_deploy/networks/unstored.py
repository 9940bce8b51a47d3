"""What a checkpoint does not store, and where it may be said instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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


def options_for(in_use: Iterable[str]) -> str:
    """The options that say what a network's checkpoint does not store, for people.

    Args:
        in_use: names of the numbers that differ between such networks.
    """
    names = [f"--{name.replace('_', '-')}" for name in (*in_use, "qk_scale")]
    return f"{', '.join(names)} and --no-shift"


def is_finite_number(value: object) -> bool:
    """Whether it is an ``int`` (no ``bool``) or ``float`` that float32 arithmetic can use."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e38
