"""How large a checkpoint's values grow on images, as a report; it takes no artifact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hat_deploy.artifact.resolve import checkpoint_named
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import CheckFailed
from hat_deploy.export.halving import assign
from hat_deploy.geometry import round_up
from hat_deploy.images.samples import Sample
from hat_deploy.networks import search
from hat_deploy.networks.assignment import Assignment
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.ranges import Peak, advice, measure
from hat_deploy.networks.search import Layer
from hat_deploy.networks.unstored import Unstored
from hat_deploy.precision import FP16_MAX, Precision
from hat_deploy.terminal.progress import OnStage
from hat_deploy.tiles import tiling
from hat_deploy.verify.verification import (
    choose_samples,
    facts,
)

if TYPE_CHECKING:
    from torch import Tensor

MEASURED = ("stream", "inside", "scores", "everything")
SIDE = 128
"""Side of the tiles that images are measured in, rounded up to the window."""


@dataclass(frozen=True, kw_only=True)
class RangesOptions(Unstored):
    """What to measure on, and where."""

    random: int = 0
    """Images of seeded noise besides the others."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""


@dataclass(frozen=True, kw_only=True)
class RangesReport:
    """Each block's largest values on some images, and what they mean."""

    reference: dict[str, Any]
    """The checkpoint: ``path``, ``sha256`` and ``bytes``."""
    pictures: tuple[str, ...]
    peaks: tuple[Peak, ...]
    """In the order data meets the blocks; none of a network whose parts are not known."""
    layers: tuple[Layer, ...] = ()
    """Of such a network: every layer, in the order data meets them."""
    assignment: Assignment | None = None
    """And what an export in fp16 would compute in half; None also where nothing would do."""
    advice: str
    """Which precision the peaks allow."""

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types; a peak that is not finite, and its share, are null."""
        return {
            "reference": self.reference,
            "pictures": list(self.pictures),
            "fp16_max": FP16_MAX,
            "blocks": [_as_json(peak) for peak in self.peaks],
            "layers": [_finite(asdict(layer)) for layer in self.layers],
            "assignment": None if self.assignment is None else asdict(self.assignment),
            "advice": self.advice,
        }


def share(value: float) -> float:
    """A value as a share of fp16's largest number; above 1 it overflows."""
    return value / FP16_MAX


def report(
    reference: str | Path,
    pictures: Sequence[Path],
    options: RangesOptions,
    *,
    on_stage: OnStage = lambda stage: None,
) -> RangesReport:
    """Measure the values inside the network of a checkpoint, in fp32.

    Images go through in tiles, so that large ones need no more memory than small ones.

    Args:
        reference: a checkpoint, or the name of a model that ships.
        pictures: files; where there are none, the images that ship.
        options: what to measure on, where, and what checkpoints do not store.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        UsageError: there is no such checkpoint or device.
        PictureError: an image cannot be decoded.
    """
    checkpoint = checkpoint_named(reference)
    network = load_network(checkpoint.path, **options.given)
    config = network.config
    side = round_up(SIDE, config.window)
    tile = (side, side)
    chosen = choose_samples(
        pictures, options.random, tile=tile, window=config.window, channels=config.channels
    )
    engine = TorchEngine(network, tile=tile, device=options.device)
    batches = _batches(engine, chosen, options.device, on_stage)
    names = tuple(sample.name for sample in chosen)
    if not network.needs_assignment:
        peaks = tuple(measure(network, batches))
        return RangesReport(
            reference=facts(checkpoint), pictures=names, peaks=peaks, advice=advice(peaks)
        )
    layers = tuple(search.measure(network, batches))
    try:
        found = assign(network.cpu(), Precision.FP16, Precision.FP16.floor, on_stage)
    except CheckFailed as error:
        found, advised = None, str(error)
    else:
        assert found is not None
        advised = search.advice(layers, found)
    return RangesReport(
        reference=facts(checkpoint),
        pictures=names,
        peaks=(),
        layers=layers,
        assignment=found,
        advice=advised,
    )


def _batches(
    engine: TorchEngine, chosen: Sequence[Sample], device: str, on_stage: OnStage
) -> Iterator[Tensor]:
    """Every tile of every image: (1, C, side, side) float32 in [0, 1]."""
    import torch

    for number, sample in enumerate(chosen, 1):
        on_stage(f"measuring on {sample.name} ({number} of {len(chosen)})")
        height, width = sample.pixels.shape[:2]
        for tile in tiling.grid_for(engine, (height, width), halo=0).tiles:
            yield torch.from_numpy(tiling.gather(sample.pixels, [tile], engine.input)).to(device)


def _as_json(peak: Peak) -> dict[str, Any]:
    shares = {f"{name}_share": share(getattr(peak, name)) for name in MEASURED}
    return _finite(asdict(peak) | shares)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
