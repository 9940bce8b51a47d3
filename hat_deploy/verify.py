"""An artifact against the PyTorch reference, on pictures: tile by tile and end to end."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hat_deploy import artifact, engines, hardware, samples, tiling, zoo
from hat_deploy.engines.base import Array, Engine, TensorSpec, scale_of
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import UsageError
from hat_deploy.fidelity import Limits, PictureFidelity, Report, TileFidelity
from hat_deploy.geometry import Grid, Tile, round_up
from hat_deploy.hat import precision
from hat_deploy.hat.checkpoint import load_network
from hat_deploy.hat.cost import memory
from hat_deploy.metrics import Difference, compare
from hat_deploy.samples import Sample

if TYPE_CHECKING:
    from hat_deploy.artifact import Description
    from hat_deploy.hat.network import HAT

ROUNDING_SIDE = 64
"""Side of the piece of a picture that the reference also computes in fp64."""
MEMORY_SHARE = 0.6
"""Share of the free memory that running a whole picture at once may be expected to take."""
ASSUMED_MEMORY = 4 << 30
"""Free memory, where the system does not say."""

OnStage = Callable[[str], None]
"""Told what is being done, for a progress display."""


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """What to verify on, and how strictly."""

    random: int = 0
    """Pictures of seeded noise besides the others."""
    halo: int | None = None
    """Border of a tile that is dropped; None: what the artifact carries."""
    min_psnr: float | None = None
    max_abs: float | None = None
    """See :class:`~hat_deploy.fidelity.Limits`; None: by the artifact's precision."""
    device: str = "cpu"
    """``cpu`` or ``cuda``, for the engine and the reference."""
    whole: bool = True
    """Whether pictures are also run whole by the reference, where they fit into memory."""
    conv_scale: float | None = None
    img_range: float | None = None
    """What the checkpoint does not store, if not the published values."""


def verify(
    engine: Path,
    reference: str | Path,
    pictures: Sequence[Path],
    options: VerifyOptions,
    *,
    on_stage: OnStage = lambda stage: None,
) -> Report:
    """Hold an artifact against the network of a checkpoint, in fp32.

    Besides running both on pictures, the constants of an ``.onnx`` are compared with the
    checkpoint's tensors, converted to its precision: damage that moves the output by less than
    the precision's own rounding shows there and nowhere else.

    Args:
        engine: an artifact.
        reference: a checkpoint, or the name of a model that ships.
        pictures: files; where there are none, the pictures that ship.

    Returns:
        What was found. Whether it is good enough is in the report; nothing is raised for it.

    Raises:
        ArtifactError: the artifact cannot be read, or cannot run here.
        CheckpointError: the checkpoint cannot be read.
        UsageError: the two are networks of different scale, window or channels, or the halo
            does not fit.
        PictureError: a picture cannot be decoded.
    """
    described = artifact.describe(engine)
    checkpoint = find_checkpoint(reference)
    network = load_network(checkpoint, conv_scale=options.conv_scale, img_range=options.img_range)
    _require_alike(described, network)
    limits = _limits(described, options)
    chosen = choose_samples(
        pictures,
        options.random,
        tile=described.tile,
        window=described.window,
        channels=described.channels,
    )
    constants = _foreign_constants(engine, described, network)
    halo = described.halo if options.halo is None else options.halo
    with engines.open_artifact(engine, device=options.device) as opened:
        comparison = Comparison(
            opened, network, halo=halo, device=options.device, whole=options.whole
        )
        figures = tuple(_run_all(comparison, chosen, on_stage))
        engine_name = opened.name
    return Report(
        artifact=facts(engine) | {"description": asdict(described)},
        reference=facts(checkpoint),
        engine=engine_name,
        settings=asdict(options) | {"halo": halo},
        hardware=hardware.examine().to_dict(),
        versions=hardware.versions(),
        limits=limits,
        pictures=figures,
        foreign_constants=constants,
        warnings=tuple(_warnings(described, checkpoint, network, chosen)),
    )


class Comparison:
    """An engine and the reference, side by side on one picture after the other.

    Args:
        engine: what is verified.
        network: the reference; moved to ``device`` and kept in fp32.
        halo: border of a tile that is dropped.
        device: ``cpu`` or ``cuda``.
        whole: whether pictures are also run whole, where they fit into memory.
        free_memory: bytes that may be used; by default asked of the system.
    """

    def __init__(
        self,
        engine: Engine,
        network: HAT,
        *,
        halo: int,
        device: str = "cpu",
        whole: bool = True,
        free_memory: int | None = None,
    ) -> None:
        self._engine = engine
        self._network = network
        self._tile_reference = TorchEngine(network, tile=engine.input.size, device=device)
        self._halo = halo
        self._device = device
        self._whole = whole
        self._free_memory = free_memory

    def run(self, sample: Sample) -> PictureFidelity:
        """Compare on one picture.

        Raises:
            UsageError: the halo does not fit the tile.
        """
        height, width = sample.pixels.shape[:2]
        grid = tiling.plan(self._engine, (height, width), self._halo)
        with _full_precision():
            tiles, computed, expected = self._tiles(sample.pixels, grid)
            whole_skipped = self._reason_to_skip_whole(height, width)
            whole = None if whole_skipped else self._run_reference(sample.pixels)
            rounding = self._rounding(sample.pixels)
        return PictureFidelity(
            name=sample.name,
            height=height,
            width=width,
            rounding=rounding,
            tiles=tuple(tiles),
            precision=compare(self._as_returned(expected), computed),
            tiling=None if whole is None else compare(whole, expected),
            total=None if whole is None else compare(self._as_returned(whole), computed),
            whole_skipped=whole_skipped,
        )

    def _tiles(self, pixels: Array, grid: Grid) -> tuple[list[TileFidelity], Array, Array]:
        """Every tile compared, and what engine and reference make of the whole picture."""
        scale = scale_of(self._engine)
        shape = (pixels.shape[2], pixels.shape[0] * scale, pixels.shape[1] * scale)
        computed, expected = (np.empty(shape, np.float32) for _ in range(2))
        tiles = []
        for tile, value in self._run_engine(pixels, grid):
            (wanted,) = self._tile_reference.run(
                tiling.gather(pixels, [tile], self._tile_reference.input)
            )
            difference = compare(self._as_returned(wanted), value)
            tiles.append(
                TileFidelity(row=tile.rows.start, column=tile.columns.start, difference=difference)
            )
            kept, place = tiling.placement(tile, scale)
            computed[:, *place] = value[:, *kept]
            expected[:, *place] = wanted[:, *kept]
        return tiles, computed, expected

    def _run_engine(self, pixels: Array, grid: Grid) -> Iterator[tuple[Tile, Array]]:
        """Each tile with what the engine makes of it: CHW float32."""
        for tiles in tiling.batches(grid.tiles, self._engine.input.batch):
            values = self._engine.run(tiling.gather(pixels, tiles, self._engine.input))
            yield from zip(tiles, _floats(values, self._engine.output), strict=False)

    def _run_reference(self, pixels: Array) -> Array:
        """The whole picture at once: (H, W, C) uint8 to CHW float32."""
        with TorchEngine(self._network, tile=pixels.shape[:2], device=self._device) as whole:
            result: Array = whole.run(_nchw(pixels))[0]
        return result

    def _rounding(self, pixels: Array) -> Difference:
        """The reference in fp32 against fp64 on the middle of the picture."""
        import torch

        piece = _nchw(_middle(pixels, ROUNDING_SIDE))
        with torch.inference_mode():
            x = torch.from_numpy(piece).to(self._device)
            exact = self._exact_network(x.double()).cpu().numpy()
            return compare(exact, self._network(x).cpu().numpy())

    @cached_property
    def _exact_network(self) -> HAT:
        return copy.deepcopy(self._network).double()

    def _as_returned(self, values: Array) -> Array:
        """What a faithful engine would return: rounded where it returns bytes."""
        if self._engine.output.dtype != "uint8":
            return values
        rounded: Array = np.rint(np.clip(values, 0, 1) * 255) / np.float32(255)
        return rounded

    def _reason_to_skip_whole(self, height: int, width: int) -> str | None:
        if not self._whole:
            return "not asked for"
        config = self._network.config
        padded = (round_up(n, config.window_size) for n in (height, width))
        needed = memory(config, *padded).total
        free = self._free_memory
        allowed = MEMORY_SHARE * (free_memory(self._device) if free is None else free)
        if needed <= allowed:
            return None
        return (
            f"it takes about {needed / 1e9:.1f} GB at once, and no more than "
            f"{allowed / 1e9:.1f} GB of memory may be used"
        )


def free_memory(device: str) -> int:
    """Bytes that may still be allocated, on the GPU or on the host."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    listing = Path("/proc/meminfo")
    if listing.is_file():
        for line in listing.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return ASSUMED_MEMORY


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 inside the reference: PyTorch's convolutions on CUDA use it by default."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def find_checkpoint(reference: str | Path) -> Path:
    """The file of a path or of a shipped model's name.

    Raises:
        UsageError: there is neither.
    """
    path = Path(reference)
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"there is no checkpoint {path}")
    return zoo.find(str(reference)).checkpoint


def facts(path: Path) -> dict[str, Any]:
    """Which file it was, for a report: ``path``, ``sha256`` and ``bytes``."""
    return {"path": str(path), "sha256": artifact.sha256(path), "bytes": path.stat().st_size}


def _limits(described: Description, options: VerifyOptions) -> Limits:
    limits = Limits.of(described.precision, min_psnr=options.min_psnr, max_abs=options.max_abs)
    return limits.for_bytes() if described.io == "uint8" else limits


def _run_all(
    comparison: Comparison, chosen: Sequence[Sample], on_stage: OnStage
) -> Iterator[PictureFidelity]:
    for number, sample in enumerate(chosen, 1):
        on_stage(f"{sample.name} ({number} of {len(chosen)})")
        yield comparison.run(sample)


def _require_alike(described: Description, network: HAT) -> None:
    """Refuse networks that cannot be run side by side."""
    config = network.config
    for name, own, wanted in (
        ("scale", described.scale, config.scale),
        ("window", described.window, config.window_size),
        ("channels", described.channels, config.in_channels),
    ):
        if own != wanted:
            raise UsageError(
                f"the artifact's {name} is {own}, the reference's {wanted}: they are different "
                "networks; give the checkpoint that the artifact was made from"
            )


def choose_samples(
    pictures: Sequence[Path], random: int, *, tile: tuple[int, int], window: int, channels: int
) -> list[Sample]:
    """The pictures named, or those that ship where none is, and ``random`` ones of noise.

    Args:
        pictures: files.
        random: how many pictures of noise, each of a tile's size.
        tile: height and width of a tile.
        window: the network's.
        channels: 1 or 3.

    Raises:
        PictureError: a picture cannot be decoded.
    """
    if pictures:
        chosen = [samples.read(path, channels) for path in pictures]
    else:
        chosen = samples.shipped(tile, window, channels)
    return chosen + samples.noise(random, tile, channels)


def _foreign_constants(path: Path, described: Description, network: HAT) -> tuple[str, ...] | None:
    if path.suffix.lower() != ".onnx" or described.precision not in precision.DTYPES:
        return None
    from hat_deploy import constants

    return tuple(constants.foreign(path, precision.convert(network, described.precision)))


def _warnings(
    described: Description, checkpoint: Path, network: HAT, chosen: Sequence[Sample]
) -> Iterator[str]:
    if described.checkpoint_sha256 != artifact.sha256(checkpoint):
        yield f"the artifact says that it was made from another file than {checkpoint}"
    config = network.config.to_dict()
    for name in sorted(config.keys() | described.config.keys()):
        own, wanted = described.config.get(name), config.get(name)
        if own != wanted:
            yield f"the artifact was made with {name} {own}; the reference has {wanted}"
    if described.channels == 3 and all(_is_gray(sample.pixels) for sample in chosen):
        yield "all pictures are gray: swapped channels would not show"


def _is_gray(pixels: Array) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _middle(pixels: Array, side: int) -> Array:
    """At most ``side`` rows and columns from the middle."""
    starts = [max(0, (length - side) // 2) for length in pixels.shape[:2]]
    return pixels[starts[0] : starts[0] + side, starts[1] : starts[1] + side]


def _nchw(pixels: Array) -> Array:
    """(H, W, C) uint8 to (1, C, H, W) float32 in [0, 1]."""
    scaled = pixels.transpose(2, 0, 1)[None] / np.float32(255)
    return np.ascontiguousarray(scaled, dtype=np.float32)


def _floats(values: Array, spec: TensorSpec) -> Array:
    """What an engine returned as NCHW float32, bytes as multiples of 1/255."""
    if spec.dtype == "uint8":
        values = values / np.float32(255)
    if spec.layout == "NHWC":
        values = values.transpose(0, 3, 1, 2)
    return values.astype(np.float32, copy=False)
