"""Cuts tiles out of images and turns computed tiles back into samples; runs no engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import cv2
import numpy as np

from hat_deploy.engines.base import Array, Engine, TensorSpec, sized
from hat_deploy.errors import CheckFailed
from hat_deploy.geometry import (
    Grid,
    Tile,
    fitted,
    grid,
    padded_size,
    reflect_indices,
    tile_count,
)

DType = np.dtype[Any]

_BAND = 64
"""Rows of a computed tile that are finished at once: few enough to stay in the processor's cache.
"""


def grid_for(engine: Engine, size: tuple[int, int], halo: int) -> Grid:
    """The grid of an engine's tiles over an image of ``size`` (height, width)."""
    return grid(size, engine.input.size, halo, engine.window)


def fitting(engine: Engine, size: tuple[int, int], halo: int) -> Engine:
    """The engine whose tile is no larger than an image needs, where it runs at any size.

    Args:
        size: height and width of the image.
    """
    tile = engine.input.size
    needed = fitted(size, tile, halo, engine.window)
    return sized(engine, needed, tiles=tile_count(size, tile, halo))


def padded(engine: Engine, size: tuple[int, int]) -> bool:
    """Whether an image is smaller than the engine's tile, and padded by more than to a window."""
    needed = padded_size(size, engine.window)
    return any(own < side for own, side in zip(needed, engine.input.size, strict=True))


def batches(tiles: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    """Tiles in groups of ``size``; the last group may be smaller."""
    for first in range(0, len(tiles), size):
        yield tiles[first : first + size]


def gather(pixels: Array, tiles: Sequence[Tile], spec: TensorSpec) -> Array:
    """Cut tiles out of a reflect-padded image into one batch.

    A batch that is not full repeats its last tile.

    Args:
        pixels: (H, W, C), uint8 or uint16, C as the engine's.

    Returns:
        An array of exactly ``spec``'s shape and dtype.
    """
    return gather_from([(pixels, tile) for tile in tiles], spec)


def gather_from(cuts: Sequence[tuple[Array, Tile]], spec: TensorSpec) -> Array:
    """:func:`gather` for tiles of several images, each with the pixels it is cut from."""
    batch = np.empty(spec.shape, spec.dtype)
    for slot, (pixels, tile) in enumerate(cuts):
        cut(pixels, tile, batch[slot], spec)
    batch[len(cuts) :] = batch[len(cuts) - 1]
    return batch


def cut(pixels: Array, tile: Tile, out: Array, spec: TensorSpec) -> None:
    """Copy one tile of a reflect-padded image into its place in a batch.

    Args:
        pixels: (H, W, C), uint8 or uint16; a view will do.
        out: one element of a batch, in ``spec``'s layout and dtype.
    """
    found = _reflected(pixels, tile, spec.size)
    if spec.layout == "NCHW":
        # In fp32, every sample of 8 and of 16 bits comes out as it does when divided in fp64.
        top = np.float32(np.iinfo(pixels.dtype).max)
        np.divide(found.transpose(2, 0, 1), top, out=out, dtype=np.float32)
    else:
        out[...] = found


def _reflected(pixels: Array, tile: Tile, size: tuple[int, int]) -> Array:
    """The samples of a tile; a view where it lies inside the image."""
    spans = list(zip(pixels.shape, (tile.rows.start, tile.columns.start), size, strict=False))
    if all(start + side <= length for length, start, side in spans):
        rows, columns = (slice(start, start + side) for _, start, side in spans)
        return pixels[rows, columns]
    indices = (reflect_indices(length, range(start, start + side)) for length, start, side in spans)
    return pixels[np.ix_(*indices)]


def finish(value: Array, tile: Tile, scale: int, spec: TensorSpec, out: Array) -> None:
    """Write the kept part of one computed tile as integer samples.

    Float values are clamped to [0, 1] and rounded to the integer type, half to even.

    Args:
        out: (h, w, C), uint8 or uint16, as large as what is kept; a view will do.

    Raises:
        CheckFailed: a value is not finite; some rows may have been written.
    """
    kept, _ = placement(tile, scale)
    if spec.layout == "NHWC":
        out[...] = value[kept]
        return
    part = value[:, *kept]
    for top in range(0, len(out), _BAND):
        rows = slice(top, top + _BAND)
        planes = [_samples(plane, out.dtype) for plane in part[:, rows]]
        # NumPy would put sample after sample into its place, which takes as long as all the rest.
        out[rows] = cv2.merge(planes).reshape(out[rows].shape)


def _samples(plane: Array, dtype: DType) -> Array:
    """One channel's float values, (h, w), as integer samples."""
    # A sum is read in a third of the time; where it overflows, each value is looked at.
    if not isfinite(cv2.sumElems(plane)[0]) and not np.isfinite(plane).all():
        raise not_finite()
    if dtype == np.uint8:
        _, clamped = cv2.threshold(plane, 0, 0, cv2.THRESH_TOZERO)
        cv2.threshold(clamped, 1, 0, cv2.THRESH_TRUNC, dst=clamped)
        return cv2.convertScaleAbs(clamped, alpha=255)  # multiplies, rounds half to even, narrows
    values = np.clip(plane, 0, 1, dtype=np.float32)
    values *= np.iinfo(dtype).max
    samples: Array = np.rint(values, out=values).astype(dtype)
    return samples


def not_finite() -> CheckFailed:
    """The error of a tile with values that are no numbers of an image."""
    return CheckFailed(
        "the engine returned values that are not finite (NaN or infinity); a half-precision "
        "artifact of this checkpoint overflows: export it in fp32 or bf16"
    )


def placement(tile: Tile, scale: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """(rows, columns) of a computed tile that are kept, and where they go in the result."""
    kept, place = [], []
    for span in (tile.rows, tile.columns):
        offset = (span.keep.start - span.start) * scale
        kept.append(slice(offset, offset + len(span.keep) * scale))
        place.append(slice(span.keep.start * scale, span.keep.stop * scale))
    return (kept[0], kept[1]), (place[0], place[1])
