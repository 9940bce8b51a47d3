"""Where a network's values can be watched: in its modules, and in the graph it is exported to.

Needs no torch. The graph is known by its form alone, which follows from the network's: LayerNorms
and convolutions come in a known order, and two LayerNorms belong to each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["input", "output", "sum"]
"""What a node of the graph takes, what it gives, or the sum that its input goes into next."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value on a network's way from image to image."""

    name: str
    """The block that it leaves, ``layers.0.residual_group.blocks.1``."""
    kind: str
    """The block's class as its paper calls it (``HAB``), or ``conv`` or ``norm``."""
    module: str
    """The module to watch."""
    enters: bool = False
    """Whether it enters that module; otherwise it leaves it."""
    operator: Literal["LayerNormalization", "Conv"] = "LayerNormalization"
    number: int
    """Which node of that operator: from the first, or, negative, from the last."""
    side: Side

    @property
    def is_block(self) -> bool:
        """Whether it leaves a block or a group of blocks."""
        return self.kind not in ("conv", "norm")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Blocks with two LayerNorms each, and the residual around them all."""

    name: str
    kind: str
    blocks: tuple[tuple[str, str], ...]
    """Name and kind of each block."""


def of_stream(
    groups: Sequence[Group], closing: Sequence[Point], *, patch_norm: bool
) -> tuple[Point, ...]:
    """The points of a network of such groups between a first convolution and a last LayerNorm.

    Args:
        groups: in the order data meets them.
        closing: the points after the last LayerNorm.
        patch_norm: whether a LayerNorm follows the first convolution.
    """
    return (*_stream(groups, patch_norm), *closing)


def _stream(groups: Sequence[Group], patch_norm: bool) -> Iterator[Point]:
    yield Point(
        name="conv_first", kind="conv", module="patch_embed", enters=True, number=0, side="input"
    )
    norms = 0
    if patch_norm:
        yield _after("patch_embed", "norm", 0, "output")
        norms = 1
    for group in groups:
        for name, kind in group.blocks:
            yield _after(name, kind, norms + 1, "sum")  # the residual around its MLP
            norms += 2
        yield _after(group.name, group.kind, norms, "input")
    yield _after("norm", "norm", norms, "output")


def _after(name: str, kind: str, number: int, side: Side) -> Point:
    return Point(name=name, kind=kind, module=name, number=number, side=side)


def entering(name: str, module: str, number: int) -> Point:
    """What enters a convolution after the last LayerNorm.

    Args:
        name: what it leaves.
        module: what it enters.
        number: the convolution, from the last: negative.
    """
    return Point(
        name=name,
        kind="conv",
        module=module,
        enters=True,
        operator="Conv",
        number=number,
        side="input",
    )
