"""Finds the layers of a network that must stay in fp32 where the others compute in half.

It starts with every layer in half. What reaches half's largest number on any image stays wide.
If the result is then nearer to fp32 than its floor, that is all. Otherwise each layer's rounding
is measured by itself, and the layers that do the most harm for the multi-adds they save stay wide
too, as few as it takes. Roundings of different layers add up nearly as independent noise does,
so that layers can be judged one by one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hat_deploy.errors import CheckFailed, needed_for

with needed_for("Running a network in PyTorch"):
    import torch
    from torch import Tensor, nn

from hat_deploy.networks import mixed
from hat_deploy.networks.assignment import Assignment
from hat_deploy.networks.ranges import MARGIN
from hat_deploy.precision import FP16_MAX, Precision
from hat_deploy.terminal.progress import OnStage

LIMIT = FP16_MAX / MARGIN
"""The largest magnitude that a layer may reach in fp16."""
RESERVE = 3.0
"""By how many dB the images of the search must exceed the floor: other images differ."""
HARMLESS = 1 / 32
"""Layers that together take no more than this part of the allowed error are not told apart."""
CHEAP = 1e-3
"""Share of all multi-adds that a layer in fp32 costs at least: its casts and its memory."""
RETURNED = 64
"""Layers that are tried in half once more at the end, those of the most multi-adds first."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one layer does on some images, in fp32."""

    name: str
    kind: str
    """Its class."""
    taken: float
    """The largest magnitude that any of its operations takes, weights included."""
    given: float
    """The largest that any of them gives."""
    multi_adds: int

    @property
    def peak(self) -> float:
        """The larger of the two."""
        return max(self.taken, self.given)


def measure(network: nn.Module, batches: Iterable[Tensor]) -> list[Layer]:
    """Run images through a network in fp32 and note every layer's values.

    Args:
        network: float32, in evaluation.
        batches: (B, C, H, W) in [0, 1].

    Returns:
        The layers that compute, in the order data meets them.
    """
    running: list[str] = []
    noted = mixed.Measured(running)
    with mixed.followed(network, running), torch.inference_mode(), noted:
        for batch in batches:
            network(batch)
    kinds = {name: type(module).__name__ for name, module in network.named_modules()}
    return [
        Layer(
            name=name,
            kind=kinds.get(name, type(network).__name__),
            taken=noted.taken[name],
            given=noted.given[name],
            multi_adds=noted.multi_adds[name],
        )
        for name in noted.given
    ]


def search(
    network: nn.Module,
    batches: Sequence[Tensor],
    precision: Precision,
    *,
    floor: float,
    on_stage: OnStage = lambda stage: None,
) -> Assignment:
    """The narrowest assignment that keeps to a floor on some images.

    Args:
        network: float32, in evaluation; it is left as it is.
        batches: (B, C, H, W) in [0, 1]; the first is what layers are told apart on.
        precision: ``fp16``, ``bf16``, or ``fp16-pure``, which keeps nothing wide.
        floor: the PSNR that each image must reach against fp32, in dB.

    Raises:
        CheckFailed: with every layer in fp32 but those without error it is not reached either.
    """
    on_stage("measuring every layer's values")
    layers = measure(network, batches)
    pure = precision == Precision.FP16_PURE
    limit = LIMIT if precision == Precision.FP16 else math.inf
    scaled = tuple(
        layer.name
        for layer in layers
        if layer.given > limit >= layer.taken and mixed.scalable(network, layer.name)
    )
    if scaled:
        network = copy.deepcopy(network)
        mixed.scale(network, scaled)
        layers = measure(network, batches)
    wide = {
        layer.name: f"its values are too large: they reach {layer.peak:.3g}"
        for layer in layers
        if layer.peak > limit
    }
    trial = _Trial(network, batches, precision)
    found = trial.psnr(layers, wide)
    if not pure and found < floor + RESERVE:
        wide |= _widened(trial, layers, wide, floor + RESERVE, on_stage)
        found = trial.psnr(layers, wide)
    if found < floor:
        raise CheckFailed(
            f"no choice of layers in {precision} reaches {floor:.0f} dB against fp32 "
            f"({found:.1f} dB at best): use fp32"
        )
    total = sum(layer.multi_adds for layer in layers)
    half = sum(layer.multi_adds for layer in layers if layer.name not in wide)
    return Assignment(
        precision=precision.arithmetic.value,
        layers=len(layers),
        wide=wide,
        scaled=scaled,
        share=half / total if total else 1.0,
        psnr=found if math.isfinite(found) else 999.0,
    )


def advice(layers: Iterable[Layer], found: Assignment) -> str:
    """What values on other images mean for layers that were found fit for fp16, in a sentence."""
    half = [layer for layer in layers if layer.name not in found.wide]
    beyond = [layer for layer in half if layer.peak > LIMIT and layer.name not in found.scaled]
    said = f"an export in fp16 keeps {found.psnr:.1f} dB on images that ship: {found.summary}"
    if not beyond:
        return said
    worst = max(beyond, key=lambda layer: layer.peak)
    return (
        f"{said}; but on these images {worst.name}, which would be in fp16, reaches "
        f"{worst.peak:.3g}, too near to or beyond {FP16_MAX:.0f}: use bf16 or fp32"
    )


class _Trial:
    """Runs a network with some layers rounded to half, against itself in fp32."""

    def __init__(self, network: nn.Module, batches: Sequence[Tensor], precision: Precision) -> None:
        self._network = network
        self._batches = batches
        self._dtype: torch.dtype = getattr(torch, precision.dtype)
        with torch.inference_mode():
            self._expected = [network(batch) for batch in batches]

    def psnr(self, layers: Sequence[Layer], wide: Iterable[str]) -> float:
        """The lowest of any image, in dB: infinite if all are equal, minus infinity if a value is
        not finite."""
        names = frozenset(layer.name for layer in layers) - frozenset(wide)
        worst = max(self._error(names, number) for number in range(len(self._batches)))
        if worst == 0:
            return math.inf
        return -10 * math.log10(worst) if worst < math.inf else -math.inf

    def error(self, layers: Iterable[Layer]) -> float:
        """The mean squared error of these layers alone, on the first batch."""
        return self._error(frozenset(layer.name for layer in layers), 0)

    def _error(self, names: frozenset[str], number: int) -> float:
        running: list[str] = []
        rounded = mixed.Rounded(running, names, self._dtype)
        with mixed.followed(self._network, running), torch.inference_mode(), rounded:
            found = self._network(self._batches[number])
        squares = (found.double() - self._expected[number]).square().flatten(1).mean(dim=1)
        return float(squares.nan_to_num(torch.inf, torch.inf).max())


def _widened(
    trial: _Trial,
    layers: Sequence[Layer],
    wide: Iterable[str],
    floor: float,
    on_stage: OnStage,
) -> dict[str, str]:
    """The fewest further layers in fp32 that keep to the floor, with the reason of each."""
    allowed = 10 ** (-floor / 10)
    left = [layer for layer in layers if layer.name not in set(wide)]
    errors: list[tuple[Layer, float]] = []
    groups = [left]
    tried = 0
    while groups:
        group = groups.pop()
        tried += 1
        on_stage(f"telling layers apart by their rounding ({tried} trials, {len(errors)} found)")
        error = trial.error(group)
        if error <= HARMLESS * allowed:
            continue
        if len(group) == 1:
            errors.append((group[0], error))
            continue
        middle = len(group) // 2
        groups += [group[middle:], group[:middle]]
    total = sum(layer.multi_adds for layer in layers) or 1
    errors.sort(key=lambda pair: pair[1] / (pair[0].multi_adds / total + CHEAP), reverse=True)

    def chosen(count: int) -> dict[str, str]:
        return {
            layer.name: "its rounding shows: "
            + (f"{-10 * math.log10(error):.0f} dB by itself" if error < math.inf else "not finite")
            for layer, error in errors[:count]
        }

    few, many = 0, len(errors)
    while few < many:
        middle = (few + many) // 2
        if trial.psnr(layers, [*wide, *chosen(middle)]) >= floor:
            many = middle
        else:
            few = middle + 1
    found = chosen(many)
    on_stage("returning layers to half that need not be wide")
    for layer, _ in sorted(errors[:many], key=lambda pair: -pair[0].multi_adds)[:RETURNED]:
        fewer = {name: why for name, why in found.items() if name != layer.name}
        if trial.psnr(layers, [*wide, *fewer]) >= floor:
            found = fewer
    return found
