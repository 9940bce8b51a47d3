"""How large a network's values grow on real pictures, and which precision that allows.

What overflows fp16 depends on weights and pictures alike, and no error says so: the result is
black or full of NaN. Measured in fp32, block by block, it can be known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hat_deploy.errors import needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.hat.network import HAB, HAT, OCAB, RHAG
from hat_deploy.hat.precision import exponent_of, halved

FP16_MAX = 65504.0
MARGIN = 4.0
"""How far below fp16's largest number a measured peak must stay: other pictures differ."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The largest absolute values seen in one block."""

    block: str
    """Its name in the network, ``layers.0.residual_group.blocks.1``."""
    kind: str
    """``HAB``, ``OCAB`` or ``RHAG``."""
    stream: float
    """Of the residual stream as the block leaves it: in half under ``fp16-pure`` alone."""
    inside: float
    """Of what leaves its layers that ``fp16`` computes in half, after the scaling that very
    large weights get there; 0 where there are none."""


def measure(network: HAT, batches: Iterable[Tensor]) -> list[Peak]:
    """Run pictures through the network in fp32 and note each block's peaks.

    Args:
        network: float32; it is frozen in place.
        batches: (B, C, H, W) in [0, 1], of any sizes.

    Returns:
        A peak for each block, in the order data meets them.

    Raises:
        ValueError: there are no batches.
    """
    network.freeze()
    peaks: dict[nn.Module, float] = {}

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        # NaN must not vanish in a maximum: it counts as infinite.
        largest = float(output.abs().max().nan_to_num(torch.inf, torch.inf))
        peaks[module] = max(peaks.get(module, 0.0), largest)

    scales = dict(_scales(network))
    blocks = {m: name for name, m in network.named_modules() if isinstance(m, HAB | OCAB | RHAG)}
    with _watched([*blocks, *scales], note), torch.inference_mode():
        for batch in batches:
            network(batch)
    if not peaks:
        raise ValueError("no pictures: at least one is needed")
    return [
        Peak(
            block=blocks[module],
            kind=type(module).__name__,
            stream=peaks[module],
            inside=_inside(module, peaks, scales),
        )
        for module in peaks
        if module in blocks
    ]


def advice(peaks: Iterable[Peak]) -> str:
    """What the peaks mean for the choice of precision, in a sentence."""
    peaks = list(peaks)
    stream = max(peak.stream for peak in peaks)
    inside = max(peak.inside for peak in peaks)
    limit = FP16_MAX / MARGIN
    if inside > limit:
        return (
            f"layers reach {inside:.3g}, too near to fp16's {FP16_MAX:.0f}: "
            "use bf16 (or fp32); fp16 may overflow"
        )
    if stream > limit:
        return (
            f"the residual stream reaches {stream:.3g}, too near to or beyond fp16's "
            f"{FP16_MAX:.0f}: use fp16, which keeps it in fp32, or bf16; not fp16-pure"
        )
    return (
        f"the residual stream reaches {stream:.3g} and layers {inside:.3g}, far from fp16's "
        f"{FP16_MAX:.0f}: fp16 is safe, and fp16-pure would not overflow on pictures like these"
    )


def _scales(network: HAT) -> Iterator[tuple[nn.Module, float]]:
    """The layers that ``fp16`` computes in half, and the factor on their result there."""
    for holder, name, summed in halved(network):
        layer = getattr(holder, name)
        yield layer, 2.0 ** -exponent_of(layer) if summed else 1.0


def _inside(
    block: nn.Module, peaks: dict[nn.Module, float], scales: dict[nn.Module, float]
) -> float:
    if isinstance(block, RHAG):
        return 0.0  # its own convolution stays in fp32; its blocks are listed themselves
    return max((peaks[m] * scales[m] for m in block.modules() if m in scales), default=0.0)


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
