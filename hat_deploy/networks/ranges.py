"""How large a network's values grow on real images, and which precision that allows.

What overflows fp16 depends on weights and images alike, and no error says so: the result is
black or full of NaN. Measured in fp32, block by block, it can be known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.networks.network import Network
from hat_deploy.networks.scaled import beside_channels, factors_of
from hat_deploy.precision import FP16_MAX

MARGIN = 4.0
"""How far below fp16's largest number a measured peak must stay: other images differ."""
REST = "rest"
"""Stands for a block's name: what lies outside the groups of blocks."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The largest absolute values seen in one block."""

    block: str
    """Its name in the network, ``layers.0.residual_group.blocks.1``."""
    kind: str
    """``HAB``, ``OCAB`` or ``RHAG``; ``HAT`` for what lies outside them. Other networks have
    names of their own for them."""
    stream: float
    """The peak of the residual stream as the block leaves it, or of any layer outside the blocks.
    It is in half under ``fp16-pure`` alone."""
    inside: float
    """The peak of what leaves the layers that ``fp16`` computes in half, after the scaling that
    very large weights get there; 0 where there are none."""
    scores: float
    """The peak of its attention scores on the way to softmax: q scaled, its product with k, and the
    sums with bias and mask. They are in half under ``fp16``; 0 without attention."""
    everything: float
    """The peak of all these and of every other layer, nothing scaled: ``fp16-pure`` has them in
    half."""


def measure(network: Network, batches: Iterable[Tensor]) -> list[Peak]:
    """Run images through the network in fp32 and note each block's peaks.

    Attention scores are computed for it as they are exported, not by PyTorch's fused call.

    Args:
        network: float32; it is frozen in place.
        batches: (B, C, H, W) in [0, 1], of any sizes.

    Returns:
        A peak for each block, in the order data meets them, and one for all that lies outside
        the groups of blocks.

    Raises:
        ValueError: there are no batches.
    """
    network.freeze()
    peaks: dict[nn.Module, float] = {}
    halves: dict[nn.Module, float] = {}
    scores: dict[nn.Module, float] = {}
    factors = dict(_factors(network))

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        _raise(peaks, module, output)
        if module in factors:
            factor = factors[module]
            _raise(halves, module, output if factor is None else output / factor)

    points = {point.module: point for point in network.config.points() if point.is_block}
    blocks = {m: points[name] for name, m in network.named_modules() if name in points}
    # An Identity is where a value can be watched that no layer gives.
    watched = nn.Linear | nn.Conv2d | nn.LayerNorm | nn.Identity
    layers = [m for m in network.modules() if isinstance(m, watched)]
    with (
        _watched([*blocks, *layers], note),
        network.spelled_out(lambda module, step: _raise(scores, module, step)),
        torch.inference_mode(),
    ):
        for batch in batches:
            network(batch)
    if not peaks:
        raise ValueError("no images: at least one is needed")

    def peak(name: str, kind: str, members: list[nn.Module], stream: float) -> Peak:
        scored = _largest(scores, members)
        return Peak(
            block=name,
            kind=kind,
            stream=stream,
            inside=_largest(halves, members),
            scores=scored,
            everything=max(_largest(peaks, members), stream, scored),
        )

    order = [module for module in peaks if module in blocks]
    owned = {block: _members(block, blocks) for block in order}
    inside = {member for members in owned.values() for member in members}
    outside = [module for module in peaks if module not in inside]
    return [
        *(
            peak(blocks[block].name, blocks[block].kind, owned[block], peaks[block])
            for block in order
        ),
        peak(REST, network.config.architecture, outside, _largest(peaks, outside)),
    ]


def advice(peaks: Iterable[Peak]) -> str:
    """What the peaks mean for the choice of precision, in a sentence."""
    peaks = list(peaks)
    stream, inside, scores, everything = (
        max(getattr(peak, name) for peak in peaks)
        for name in ("stream", "inside", "scores", "everything")
    )
    limit = FP16_MAX / MARGIN
    near = f"too near to or beyond fp16's {FP16_MAX:.0f}"
    if scores > limit:
        return (
            f"attention scores reach {scores:.3g}, {near}: use fp32; fp16 may overflow, and bf16, "
            f"which has 8 binary digits, would round such scores by up to {scores / 256:.0f}"
        )
    if inside > limit:
        return f"layers reach {inside:.3g}, {near}: use bf16 (or fp32); fp16 may overflow"
    if stream > limit:
        return (
            f"the residual stream reaches {stream:.3g}, {near}: use fp16, which keeps it in fp32, "
            "or bf16; not fp16-pure"
        )
    if everything > limit:
        return (
            f"layers reach {everything:.3g}, {near}, where fp16-pure computes them: use fp16, "
            "which scales very large weights down, or bf16"
        )
    return (
        f"the residual stream reaches {stream:.3g}, layers {inside:.3g} and attention scores "
        f"{scores:.3g}, far from fp16's {FP16_MAX:.0f}: fp16 is safe, and fp16-pure would not "
        "overflow on images like these"
    )


def _raise(peaks: dict[nn.Module, float], module: nn.Module, values: Tensor) -> None:
    # NaN must not vanish in a maximum: it counts as infinite.
    largest = float(values.abs().max().nan_to_num(torch.inf, torch.inf))
    peaks[module] = max(peaks.get(module, 0.0), largest)


def _largest(peaks: dict[nn.Module, float], members: Iterable[nn.Module]) -> float:
    return max((peaks[module] for module in members if module in peaks), default=0.0)


def _factors(network: Network) -> Iterator[tuple[nn.Module, Tensor | None]]:
    """The layers that ``fp16`` computes in half, and what their result is divided by there."""
    for holder, name, summed in network.halved():
        layer = getattr(holder, name)
        factors = factors_of(layer) if summed else None
        yield layer, None if factors is None else beside_channels(layer, factors)


def _members(block: nn.Module, blocks: Collection[nn.Module]) -> list[nn.Module]:
    """What a block answers for: itself and what lies in it, blocks within it apart."""
    within = [child for child in block.modules() if child is not block and child in blocks]
    apart = {module for child in within for module in child.modules()}
    return [module for module in block.modules() if module not in apart]


@contextmanager
def _watched(
    modules: Iterable[nn.Module], note: Callable[[nn.Module, object, Tensor], None]
) -> Iterator[None]:
    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
