"""An engine and the PyTorch reference, side by side on one image after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.engines.averages import exact
from hat_deploy.engines.base import Array, Engine, TensorSpec, scale_of
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.geometry import Grid, Tile, round_up
from hat_deploy.images.samples import Sample
from hat_deploy.machine import available_memory
from hat_deploy.metrics import Difference, compare
from hat_deploy.tiles import tiling
from hat_deploy.tiles.averages import DEFAULT_PASSES, besides, settled
from hat_deploy.verify.fidelity import PictureFidelity, TileFidelity

if TYPE_CHECKING:
    from hat_deploy.networks.network import Network

ROUNDING_SIDE = 64
"""Side of the piece of an image that the reference also computes in fp64."""
MEMORY_SHARE = 0.6
"""Share of the free memory that running a whole image at once may be expected to take."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendering:
    """What became of one image, for those who look at it.

    Results are (C, scale * H, scale * W) float32, not clamped.
    """

    pixels: Array
    """The image: (H, W, C) uint8."""
    computed: Array
    """By the engine, tile by tile."""
    expected: Array
    """By the reference, with the same tiles."""
    whole: Array | None
    """By the reference, at once; None where that was not done."""
    grid: Grid
    scale: int
    fidelity: PictureFidelity
    """The figures."""


OnRendering = Callable[[Rendering], None]
"""Shown what became of each image."""


class Comparison:
    """An engine and the reference, side by side on one image after the other.

    Args:
        engine: what is verified.
        network: the reference; moved to ``device`` and kept in fp32.
        halo: border of a tile that is dropped.
        device: ``cpu`` or ``cuda``.
        whole: whether images are also run whole, where they fit into memory.
        passes: over an image, at most, where the engine takes averages of the whole.
        free_memory: bytes that may be used; by default asked of the system.
    """

    def __init__(
        self,
        engine: Engine,
        network: Network,
        *,
        halo: int,
        device: str = "cpu",
        whole: bool = True,
        passes: int = DEFAULT_PASSES,
        free_memory: int | None = None,
    ) -> None:
        self._named_engine = self._engine = engine
        self._network = network
        self._passes = passes
        self._reference = self._tile_reference = TorchEngine(
            network, tile=engine.input.size, device=device, exact=exact(engine) is not None
        )
        self._halo = halo
        self._device = device
        self._whole = whole
        self._free_memory = free_memory

    def run(
        self, sample: Sample, on_rendering: OnRendering = lambda rendering: None
    ) -> PictureFidelity:
        """Compare on one image.

        Args:
            sample: the image.
            on_rendering: shown what became of it.

        Raises:
            UsageError: the halo does not fit the tile.
        """
        height, width = sample.pixels.shape[:2]
        self._engine = tiling.fitting(self._named_engine, (height, width), self._halo)
        self._tile_reference = self._reference.at(self._engine.input.size) or self._reference
        grid = tiling.grid_for(self._engine, (height, width), self._halo)
        with _full_precision():
            tiles, computed, expected = self._tiles(sample.pixels, grid)
            whole_skipped = self._reason_to_skip_whole(height, width)
            whole = None if whole_skipped else self._run_reference(sample.pixels)
            rounding = self._rounding(sample.pixels)
        found = PictureFidelity(
            name=sample.name,
            height=height,
            width=width,
            rounding=rounding,
            tiles=tuple(tiles),
            precision=compare(self._as_returned(expected), computed),
            tiling=None if whole is None else compare(whole, expected),
            total=None if whole is None else compare(self._as_returned(whole), computed),
            whole_skipped=whole_skipped,
            padded_to=(
                self._engine.input.size if tiling.padded(self._engine, (height, width)) else None
            ),
        )
        on_rendering(
            Rendering(
                pixels=sample.pixels,
                computed=computed,
                expected=expected,
                whole=whole,
                grid=grid,
                scale=scale_of(self._engine),
                fidelity=found,
            )
        )
        return found

    def _tiles(self, pixels: Array, grid: Grid) -> tuple[list[TileFidelity], Array, Array]:
        """Every tile compared, and what engine and reference make of the whole image."""
        scale = scale_of(self._engine)
        shape = (pixels.shape[2], pixels.shape[0] * scale, pixels.shape[1] * scale)
        computed, expected = (np.empty(shape, np.float32) for _ in range(2))
        tiles = []
        pairs = zip(
            self._run_tiles(self._engine, pixels, grid),
            self._run_tiles(self._tile_reference, pixels, grid),
            strict=True,
        )
        for (tile, value), (_, wanted) in pairs:
            difference = compare(self._as_returned(wanted), value)
            tiles.append(
                TileFidelity(row=tile.rows.start, column=tile.columns.start, difference=difference)
            )
            kept, place = tiling.placement(tile, scale)
            computed[:, *place] = value[:, *kept]
            expected[:, *place] = wanted[:, *kept]
        return tiles, computed, expected

    def _run_tiles(self, engine: Engine, pixels: Array, grid: Grid) -> Iterator[tuple[Tile, Array]]:
        """Each tile with what an engine makes of it in its last pass: CHW float32."""
        taking = exact(engine)
        averages = None if taking is None else settled(taking, pixels, grid, self._passes)
        for tiles in tiling.batches(grid.tiles, engine.input.batch):
            batch = tiling.gather(pixels, tiles, engine.input)
            if taking is None or averages is None:
                values = engine.run(batch)
            else:
                beside = besides([(averages, tile) for tile in tiles], engine.input.batch)
                ((values, _),) = taking.stream_exact([(batch, *beside)])
            floats = _floats(values, engine.output)
            if engine.peaks is not None:
                floats[~np.isfinite(engine.peaks)] = np.nan
            yield from zip(tiles, floats, strict=False)

    def _run_reference(self, pixels: Array) -> Array:
        """The whole image at once: (H, W, C) uint8 to CHW float32."""
        with TorchEngine(self._network, tile=pixels.shape[:2], device=self._device) as whole:
            result: Array = whole.run(_nchw(pixels))[0]
        return result

    def _rounding(self, pixels: Array) -> Difference:
        """The reference in fp32 against fp64 on the middle of the image."""
        import torch

        piece = _nchw(_middle(pixels, ROUNDING_SIDE))
        with torch.inference_mode():
            x = torch.from_numpy(piece).to(self._device)
            exact = self._exact_network(x.double()).cpu().numpy()
            return compare(exact, self._network(x).cpu().numpy())

    @cached_property
    def _exact_network(self) -> Network:
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
        padded = (round_up(n, config.window) for n in (height, width))
        needed = config.memory(*padded).total
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
    return available_memory()


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 inside the reference: PyTorch's convolutions on CUDA use it by default."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


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
