"""What a network costs: parameters, multi-adds and memory, as plain integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """The share of one kind of layer."""

    parameters: int = 0
    multi_adds: int = 0

    def __add__(self, other: Part) -> Part:
        return Part(self.parameters + other.parameters, self.multi_adds + other.multi_adds)

    def __mul__(self, times: int) -> Part:
        return Part(self.parameters * times, self.multi_adds * times)


@dataclass(frozen=True)
class Cost:
    """Parameters and multi-adds of one pass over one LR input of ``height`` x ``width``."""

    height: int
    width: int
    parts: Mapping[str, Part]
    """By kind of layer, in the order data meets them; the kinds are the network's own."""
    agreement: str = ""
    """How near the multi-adds are to published figures, for people; empty where that is unknown."""

    @property
    def parameters(self) -> int:
        """Learned numbers, as ``sum(p.numel() for p in network.parameters())``."""
        return sum(part.parameters for part in self.parts.values())

    @property
    def multi_adds(self) -> int:
        """Multi-adds of one pass; each is two floating-point operations."""
        return sum(part.multi_adds for part in self.parts.values())

    @property
    def per_megapixel(self) -> int:
        """Multi-adds per million LR pixels of input, at this size and without a halo."""
        return round(self.multi_adds * 10**6 / (self.height * self.width))


@dataclass(frozen=True)
class Memory:
    """An estimate of the bytes one pass needs; see :meth:`hat_deploy.networks.Shape.memory`."""

    weights: int
    """The parameters."""
    position_biases: int
    """The bias tables, expanded to (heads, queries, keys) once per attention."""
    activations: int
    """Peak of what is alive at once in a forward pass."""
    moment: str
    """Where that peak is: ``attention``, ``cab``, ``mlp``, ``ocab`` or ``reconstruction``."""

    @property
    def total(self) -> int:
        """All three together."""
        return self.weights + self.position_biases + self.activations


def pixels_of(height: int, width: int, window: int) -> int:
    """How many there are.

    Raises:
        ValueError: a size is not a positive multiple of the window.
    """
    if height < 1 or width < 1 or height % window or width % window:
        raise ValueError(
            f"an input of {width}x{height} does not fit: both sides must be positive "
            f"multiples of the window, {window}"
        )
    return height * width


def process_memory(parameters: int, alive: int) -> dict[str, int]:
    """An estimate, by engine, of the resident bytes of a process that runs a network on a CPU.

    The libraries hold weights and values twice.

    Args:
        alive: bytes of float32 values alive at once.
    """
    return {
        "openvino": 110_000_000 + 16 * parameters + 2 * alive,
        "onnxruntime": 75_000_000 + 8 * parameters + 2 * alive,
    }


def conv(inputs: int, outputs: int, pixels: int, side: int = 3) -> Part:
    """A square convolution with a bias."""
    weights = side**2 * inputs * outputs
    return Part(weights + outputs, weights * pixels)


def linear(inputs: int, outputs: int, positions: int, *, bias: bool = True) -> Part:
    """A linear layer at so many positions."""
    return Part(inputs * outputs + bias * outputs, inputs * outputs * positions)


def products(dim: int, queries: int, keys: int) -> int:
    """Multi-adds of q k^T and of its product with v; the number of heads does not matter."""
    return 2 * dim * queries * keys
