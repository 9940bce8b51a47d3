"""Sizes, paddings and tile grids. Integers only: no arrays, no pixels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from operator import index

from hat_deploy.errors import UsageError


def whole_number(name: str, value: object, *, least: int = 1) -> int:
    """A whole number that a program was given for an argument.

    Raises:
        UsageError: it is none, or too small.
    """
    with suppress(TypeError):
        number = index(value)  # type: ignore[arg-type] # it says what is none
        if number >= least and not isinstance(value, bool):
            return number
    raise UsageError(f"{name} is {value!r}; a whole number of at least {least} was expected")


def tile_sides(tile: object) -> tuple[int, int]:
    """Height and width of a tile that a program named by one side, or by a pair of them.

    Raises:
        UsageError: it is neither.
    """
    pair = tile if isinstance(tile, (tuple, list)) else (tile, tile)
    with suppress(UsageError, ValueError):
        height, width = (whole_number("tile", side) for side in pair)
        return height, width
    raise UsageError(
        f"tile is {tile!r}; one side, such as 256, or a pair, (height, width), was expected"
    )


def round_up(length: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``length``."""
    return -(-length // multiple) * multiple


def format_size(size: tuple[int, int]) -> str:
    """A tile's (height, width) as the command line takes it: ``HEIGHTxWIDTH``."""
    return f"{size[0]}x{size[1]}"


def default_tile(window: int) -> tuple[int, int]:
    """Height and width of the tile that is taken where none is named: 256, or the next multiple
    of the window."""
    side = round_up(256, window)
    return side, side


def tile_size(size: tuple[int, int]) -> str:
    """A tile's (height, width) for people; of one that is not square it says which is which.

    >>> tile_size((192, 320))
    '192x320 (height x width)'
    """
    order = "" if size[0] == size[1] else " (height x width)"
    return format_size(size) + order


def image_size(height: int, width: int) -> str:
    """An image's size as people say it, width first.

    >>> image_size(480, 640)
    '640x480'
    """
    return f"{width}x{height}"


def reflect_indices(length: int, positions: range) -> list[int]:
    """Source positions of an axis that goes on past its end by reflection.

    Reflection as in ``numpy.pad(mode="reflect")``: the edge sample is not repeated, the
    pattern bounces for as long as needed, and a single sample is repeated.

    Args:
        length: samples the axis has, at least 1.
        positions: the positions wanted, from 0 up.

    Returns:
        For each position an index into ``range(length)``; inside the axis, itself.
    """
    if length < 1:
        raise ValueError(f"an axis of {length} samples cannot be reflected")
    period = max(1, 2 * (length - 1))
    return [min(i % period, period - i % period) for i in positions]


def padded_size(size: tuple[int, int], window: int) -> tuple[int, int]:
    """Height and width of an image padded to the window: what a network sees of a whole one."""
    return round_up(size[0], window), round_up(size[1], window)


def fitted(size: tuple[int, int], tile: tuple[int, int], halo: int, window: int) -> tuple[int, int]:
    """The tile for an image: no larger than what as many of them need to cover it.

    On a side of the image that one tile covers it is the image, padded to the window: reflection
    further than that changes what the network sees. Elsewhere equal tiles leave the last one with
    nothing to compute twice.
    """
    rows, columns = (
        _equal(length, side, halo, window) for length, side in zip(size, tile, strict=True)
    )
    return rows, columns


def _equal(length: int, side: int, halo: int, window: int) -> int:
    if length <= side:
        return round_up(length, window)
    return min(side, equal_part(length, _parts(length, side, halo), halo, window))


def equal_part(length: int, parts: int, halo: int, window: int) -> int:
    """The side of a tile of which this many, two or more, with such a halo, cover a length."""
    return round_up(-(-(length - 2 * halo) // parts), window) + 2 * halo


@dataclass(frozen=True)
class Span:
    """One axis of a tile: what is computed, and which part of it is kept."""

    start: int
    """First sample of the tile, a multiple of the window."""
    keep: range
    """Samples of the image that this tile gives; spans of a line partition it."""


@dataclass(frozen=True)
class Tile:
    """One rectangle an engine computes, halo included."""

    rows: Span
    columns: Span


@dataclass(frozen=True)
class Grid:
    """How an image is cut into tiles; make one with :func:`grid`."""

    height: int
    width: int
    """Size of the reflect-padded image: at least a tile, a multiple of the window."""
    tiles: tuple[Tile, ...]
    """Row by row. Their kept parts cover every pixel of the image exactly once."""


def grid(size: tuple[int, int], tile: tuple[int, int], halo: int, window: int) -> Grid:
    """Lay tiles over an image.

    Every tile starts at a multiple of the window, so that attention windows fall where they
    fall in the whole image. The image is padded at its right and bottom to a multiple of
    the window (and up to a tile); tiles never reach beyond that: the last one of a row is
    flush with the padded edge. ``halo`` samples are dropped on every side that has a
    neighbour.

    Args:
        size: height and width of the image, at least 1.
        tile: height and width of a tile, halo included, multiples of ``window``.
        halo: dropped border; ``tile - 2 * halo`` must be a positive multiple of ``window``,
            except along a side of the image that one tile covers.

    Raises:
        UsageError: tile, halo and window do not fit together.
    """
    for length, side in zip(size, tile, strict=True):
        _check_side(side, halo if length > side else 0, window)
    height, width = (max(round_up(n, window), t) for n, t in zip(size, tile, strict=True))
    rows = _spans(size[0], height, tile[0], halo)
    columns = _spans(size[1], width, tile[1], halo)
    return Grid(height, width, tuple(Tile(r, c) for r in rows for c in columns))


def tile_count(size: tuple[int, int], tile: tuple[int, int], halo: int) -> int:
    """How many tiles :func:`grid` lays over an image, without laying them."""
    rows, columns = (_parts(n, side, halo) for n, side in zip(size, tile, strict=True))
    return rows * columns


def _parts(length: int, side: int, halo: int) -> int:
    """How many tiles cover a length."""
    return 1 if length <= side else -(-(length - 2 * halo) // (side - 2 * halo))


def check_tile(tile: tuple[int, int], halo: int, window: int) -> None:
    """Refuse a tile and halo that no aligned grid can be made of.

    Raises:
        UsageError: as :func:`grid`.
    """
    for length in tile:
        _check_side(length, halo, window)


def _check_side(length: int, halo: int, window: int) -> None:
    if length < window or length % window:
        raise UsageError(
            f"tile side {length} is not a multiple of the network's window, {window}: "
            f"use {max(window, round_up(length, window))}"
        )
    step = length - 2 * halo
    if halo < 0 or step < window or step % window:
        fitting = halos(length, window)
        raise UsageError(
            f"halo {halo} does not fit tile side {length}: what is left of a tile must be "
            f"a positive multiple of {window}; fitting halos: "
            f"{', '.join(map(str, fitting))}"
        )


def halos(length: int, window: int) -> list[int]:
    """The halos that fit a tile side, ascending."""
    return [halo for halo in range((length - window) // 2 + 1) if (length - 2 * halo) % window == 0]


def halo_windows(*, exact: bool) -> int:
    """How many windows wide a halo is by default.

    benchmarks/halo.py measures what the lack of context beyond it leaves, in networks of 6 to 72
    blocks with random weights: with one window 62 to 69 dB of the whole image, with half a window
    55 to 60. Two windows leave 83 dB and more; exact tiles need them, for averages cost less.
    """
    return 2 if exact else 1


def default_halo(tile: tuple[int, int], window: int, *, exact: bool = False) -> int:
    """The widest fitting halo up to :func:`halo_windows`, or a quarter of the shorter side if less.

    Args:
        exact: whether tiles take averages of the whole image.
    """
    shared = set(halos(tile[0], window)) & set(halos(tile[1], window))
    limit = min(halo_windows(exact=exact) * window, min(tile) // 4)
    return max((halo for halo in shared if halo <= limit), default=0)


def counted(span: Span, length: int, window: int) -> range:
    """Which samples of a tile count for an average over the padded image, from the tile's start.

    The kept ones; at the end of the image also those up to the next multiple of the window, as
    in the whole image. Counted parts of a line partition it.

    Args:
        length: of the image along this axis.
    """
    stop = round_up(length, window) if span.keep.stop == length else span.keep.stop
    return range(span.keep.start - span.start, stop - span.start)


def _spans(length: int, padded: int, tile: int, halo: int) -> list[Span]:
    step = tile - 2 * halo
    spans = []
    done = 0
    start = 0
    while done < length:
        last = start + tile >= padded
        start = min(start, padded - tile)
        stop = length if last else min(start + tile - halo, length)
        spans.append(Span(start, range(done, stop)))
        done = stop
        start += step
    return spans
