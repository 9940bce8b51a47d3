"""What any network is to the rest of the program, apart from its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from hat_deploy.networks.cost import Cost, Memory
    from hat_deploy.networks.points import Point

GRID = 16
"""Least multiple of a tile's sides and offsets, in pixels, where a network demands less; the
default halo is one of them. Most windows divide it, and people overlap tiles by as much."""


class Shape(Protocol):
    """What it takes to build a network that fits given weights, and what it then costs."""

    @property
    def architecture(self) -> str:
        """The network's name: ``HAT``."""

    @property
    def scale(self) -> int:
        """Upscaling factor."""

    @property
    def channels(self) -> int:
        """Channels of the image in and out: 3 for RGB, 1 for gray."""

    @property
    def window(self) -> int:
        """Heights, widths and offsets of tiles must be multiples of it."""

    @property
    def any_size(self) -> bool:
        """Whether an artifact may leave height and width open."""

    @property
    def variant(self) -> str:
        """A published name where the shape is a published one, else ``custom``."""

    @property
    def unstored(self) -> str:
        """The values that no checkpoint stores, for people."""

    @property
    def in_use(self) -> Mapping[str, tuple[float, ...]]:
        """Values that such networks are trained with, of numbers that no checkpoint stores."""

    def told(self, **values: Any) -> Self:
        """The shape with other values of what no checkpoint stores.

        Raises:
            ValueError: such networks have no such value, or it is out of range.
        """

    @property
    def expanded_bytes(self) -> int:
        """Bytes of what a loaded network holds and no checkpoint does: expanded biases."""

    def points(self) -> tuple[Point, ...]:
        """Where its values can be watched, in the order data meets them."""

    def cost(self, height: int, width: int) -> Cost:
        """Parameters and multi-adds of one pass over an LR input of ``height`` x ``width``.

        Raises:
            ValueError: a size is not a positive multiple of ``window``.
        """

    def memory(
        self, height: int, width: int, *, element_size: int = 4, fused: bool = True
    ) -> Memory:
        """An estimate of the memory of one such pass, batch 1.

        Args:
            element_size: bytes of one number, of weights and activations alike.
            fused: attention does not store its scores.

        Raises:
            ValueError: a size is not a positive multiple of ``window``.
        """

    def process_memory(self, height: int, width: int, *, batch: int = 1) -> dict[str, int]:
        """An estimate, by engine, of the resident bytes of a process that runs it on a CPU.

        Raises:
            ValueError: a size is not a positive multiple of ``window``.
        """

    def to_dict(self) -> dict[str, Any]:
        """The shape as JSON types, ``architecture`` among them."""

    def differences(self, other: Shape) -> dict[str, tuple[object, object]]:
        """Values of the two that are not equal, by name: this one's and the other's."""
