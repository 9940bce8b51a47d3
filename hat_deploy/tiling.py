"""Picture to tiles to engine to picture. Takes any engine, knows none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hat_deploy.engines.base import Array, Engine, TensorSpec, scale_of
from hat_deploy.errors import CheckFailed
from hat_deploy.geometry import Grid, Tile, grid, reflect_indices

OnBatch = Callable[[int], None]
"""Called after each batch with the number of tiles it finished."""


def upscale(pixels: Array, engine: Engine, *, halo: int, on_batch: OnBatch | None = None) -> Array:
    """Upscale one picture tile by tile.

    The result is assembled in its final integer type, a tile at a time; no float picture
    is ever held.

    Args:
        pixels: (H, W, C), uint8 or uint16, any size from 1x1, C as the engine's.
        halo: see :func:`hat_deploy.geometry.grid`.
        on_batch: progress.

    Returns:
        (scale * H, scale * W, C) of the same dtype.

    Raises:
        UsageError: the halo does not fit the engine's tile.
        ValueError: wrong channels or dtype.
        CheckFailed: the engine returned values that are not finite.
    """
    if pixels.ndim != 3 or pixels.shape[2] != engine.input.channels:
        raise ValueError(
            f"picture is {pixels.shape}; (height, width, {engine.input.channels}) was expected"
        )
    height, width, channels = pixels.shape
    scale = scale_of(engine)
    layout = plan(engine, (height, width), halo)
    result = np.empty((height * scale, width * scale, channels), pixels.dtype)
    groups = list(batches(layout.tiles, engine.input.batch))
    results = engine.stream(gather(pixels, tiles, engine.input) for tiles in groups)
    for tiles, values in zip(groups, results, strict=True):
        for tile, value in zip(tiles, values, strict=False):
            scatter(result, value, tile, scale, engine.output)
        if on_batch:
            on_batch(len(tiles))
    return result


def plan(engine: Engine, size: tuple[int, int], halo: int) -> Grid:
    """The grid of an engine's tiles over a picture of ``size`` (height, width)."""
    return grid(size, engine.input.size, halo, engine.window)


def batches(tiles: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    """Tiles in groups of ``size``; the last group may be smaller."""
    for first in range(0, len(tiles), size):
        yield tiles[first : first + size]


def gather(pixels: Array, tiles: Sequence[Tile], spec: TensorSpec) -> Array:
    """Cut tiles out of a reflect-padded picture into one batch.

    A batch that is not full repeats its last tile.

    Returns:
        An array of exactly ``spec``'s shape and dtype.
    """
    batch = np.empty(spec.shape, spec.dtype)
    for slot, tile in enumerate(_padded(tiles, spec.batch)):
        rows, columns = (
            reflect_indices(length, range(span.start, span.start + side))
            for length, span, side in zip(
                pixels.shape, (tile.rows, tile.columns), spec.size, strict=False
            )
        )
        cut = pixels[np.ix_(rows, columns)]
        if spec.layout == "NCHW":
            np.divide(cut.transpose(2, 0, 1), np.iinfo(pixels.dtype).max, out=batch[slot])
        else:
            batch[slot] = cut
    return batch


def scatter(result: Array, value: Array, tile: Tile, scale: int, spec: TensorSpec) -> None:
    """Write the kept part of one computed tile into the result.

    Float values are clamped to [0, 1] and rounded to the result's integer type.

    Raises:
        CheckFailed: a value is not finite.
    """
    kept, place = placement(tile, scale)
    if spec.layout == "NHWC":
        result[place] = value[kept]
        return
    part = value[:, *kept].astype(np.float32)
    if not np.isfinite(part).all():
        raise CheckFailed(
            "the engine returned values that are not finite (NaN or infinity); a half-precision "
            "artifact of this checkpoint overflows: export it in fp32 or bf16"
        )
    top = np.iinfo(result.dtype).max
    rounded = np.rint(np.clip(part, 0, 1) * top)
    result[place] = rounded.transpose(1, 2, 0).astype(result.dtype)


def placement(tile: Tile, scale: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """(rows, columns) of a computed tile that are kept, and where they go in the result."""
    kept, place = [], []
    for span in (tile.rows, tile.columns):
        offset = (span.keep.start - span.start) * scale
        kept.append(slice(offset, offset + len(span.keep) * scale))
        place.append(slice(span.keep.start * scale, span.keep.stop * scale))
    return (kept[0], kept[1]), (place[0], place[1])


def _padded(tiles: Sequence[Tile], count: int) -> Iterator[Tile]:
    yield from tiles
    for _ in range(count - len(tiles)):
        yield tiles[-1]
