"""Chooses the tile that computes a set of images with the least work and fits into memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hat_deploy.errors import UsageError
from hat_deploy.geometry import (
    default_halo,
    default_tile,
    equal_part,
    fitted,
    format_size,
    halo_windows,
    round_up,
    tile_count,
)
from hat_deploy.networks import Shape
from hat_deploy.tiles.averages import DEFAULT_PASSES

SIDES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768)
"""Sides of square tiles to try, rounded up to the window."""
COMMON = 3
"""How many of the commonest image sizes are tried whole and cut into equal tiles."""
CUTS = 12
"""Into how many tiles a side of these is cut at most."""
BATCH_PIXELS = 2**18
"""Pixels of a batch beyond which a GPU gains nothing from more tiles at once; its tiles have no
more, for the artifact of a larger one takes minutes and gigabytes of the host to make and prove."""
LARGEST_BATCH = 16


USUAL_MEMORY = 4 * 2**30
"""Bytes that a process may take, by an estimate, for tiles above 256x256 to be the default."""
USUAL = (512, 448, 384)
"""Sides that are tried for that."""


def usual_tile(shape: Shape, backend: str, memory: int) -> tuple[int, int]:
    """The largest tile that images are cut into on a CPU, where the graph takes any size and no
    tile was named.

    It depends on neither the free memory nor the images, so that the same command gives the same
    result tomorrow and beside other images.

    Args:
        shape: of the network.
        backend: ``openvino`` or ``onnxruntime``.
        memory: bytes that the machine has in all; the process may take half of it at most.
    """
    allowed = min(USUAL_MEMORY, memory // 2)
    for side in USUAL:
        tile = (round_up(side, shape.window),) * 2
        if shape.process_memory(*tile)[backend] <= allowed:
            return tile
    return default_tile(shape.window)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A tile, a batch, and why they were chosen."""

    tile: tuple[int, int]
    batch: int
    work: float
    """Pixels computed for each pixel of the images."""
    memory: int
    """Bytes that a batch is estimated to need."""
    reason: str
    """One line for people."""


def choose(
    sizes: Sequence[tuple[int, int]],
    shape: Shape,
    *,
    free: int,
    gpu: bool = False,
    exact: bool = False,
    any_size: bool = True,
    ready: tuple[int, int] | None = None,
) -> Choice:
    """The tile that computes the fewest pixels for these images, halo and padding included.

    Args:
        sizes: heights and widths of the images, or of a fair sample.
        shape: of the network; its cost model says what a tile needs.
        free: bytes to stay within.
        gpu: whether attention is fused and batches pay, and every tile has one size.
        exact: whether tiles have the wider halo of exact ones, and images of several tiles take
            two passes.
        any_size: whether an image smaller than a tile is computed at its own size on a CPU.
        ready: a tile for which an artifact exists: it is kept unless another one saves a tenth.

    Raises:
        UsageError: there is no image, or not even the smallest tile fits.
    """
    if not sizes:
        raise UsageError("--tile auto needs images to choose by: give a tile, such as 256")
    window = shape.window
    useful = sum(height * width for height, width in sizes)
    one_size = gpu or not any_size
    tried = {}
    for tile in _candidates(sizes, window, ready, exact=exact):
        if gpu and _area(tile) > BATCH_PIXELS and tile != ready:
            continue
        needed = _needed(shape, tile, gpu=gpu)
        if needed <= free:
            computed = _computed(sizes, tile, window, exact=exact, one_size=one_size)
            tried[tile] = (computed / useful, needed)
    if not tried:
        smallest = min(_candidates(sizes, window, ready, exact=exact), key=_area)
        raise UsageError(
            f"{_mib(free)} of memory is too little for this network: a tile of "
            f"{format_size(smallest)} needs about {_mib(_needed(shape, smallest, gpu=gpu))}"
        )
    best = min(tried, key=lambda tile: (tried[tile][0], _area(tile)))
    if ready in tried and tried[ready][0] <= 1.1 * tried[best][0]:
        best = ready
    work, needed = tried[best]
    halo = default_halo(best, window, exact=exact)
    batch = _batch(sizes, best, halo, free // needed) if gpu else 1
    reason = (
        f"tile {format_size(best)}"
        + (f", {batch} at a time" if batch > 1 else "")
        + f": {work:.2f} pixels computed for each of the {len(sizes)} images' own"
        + _comparison(tried, best)
        + f"; about {_mib(batch * needed)} of {_mib(free)}"
    )
    return Choice(tile=best, batch=batch, work=work, memory=batch * needed, reason=reason)


def _candidates(
    sizes: Iterable[tuple[int, int]], window: int, ready: tuple[int, int] | None, *, exact: bool
) -> list[tuple[int, int]]:
    halo = halo_windows(exact=exact) * window
    squares = {(round_up(side, window),) * 2 for side in SIDES if side >= 2 * window}
    padded = Counter((round_up(h, window), round_up(w, window)) for h, w in sizes)
    equal = {
        (_cut(height, rows, window, halo), _cut(width, columns, window, halo))
        for (height, width), _ in padded.most_common(COMMON)
        for rows in range(1, CUTS + 1)
        for columns in range(1, CUTS + 1)
    }
    return sorted(squares | equal | ({ready} if ready else set()))


def _cut(length: int, parts: int, window: int, halo: int) -> int:
    """The side of a tile of which this many, with such a halo, cover a length."""
    if parts == 1:
        return length
    return min(length, max(4 * halo, equal_part(length, parts, halo, window)))


def _computed(
    sizes: Iterable[tuple[int, int]],
    tile: tuple[int, int],
    window: int,
    *,
    exact: bool,
    one_size: bool,
) -> int:
    """Pixels computed for all images, in all passes."""
    halo = default_halo(tile, window, exact=exact)
    computed = 0
    for size, count in Counter(sizes).items():
        tiles = tile_count(size, tile, halo)
        passes = DEFAULT_PASSES if exact and tiles > 1 else 1
        own = tile if one_size else fitted(size, tile, halo, window)
        computed += count * passes * tiles * _area(own)
    return computed


def _needed(shape: Shape, tile: tuple[int, int], *, gpu: bool) -> int:
    return shape.memory(*tile, fused=gpu).total


def _batch(sizes: Sequence[tuple[int, int]], tile: tuple[int, int], halo: int, fitting: int) -> int:
    """A power of two: no more than fits, than a GPU profits from, or than there are tiles."""
    tiles = sum(tile_count(size, tile, halo) for size in sizes)
    most = max(1, min(fitting, BATCH_PIXELS // _area(tile), tiles, LARGEST_BATCH))
    return 1 << (most.bit_length() - 1)


def _comparison(tried: dict[tuple[int, int], tuple[float, int]], best: tuple[int, int]) -> str:
    usual = (256, 256)
    if usual == best or usual not in tried:
        return ""
    return f" (256x256: {tried[usual][0]:.2f})"


def _area(tile: tuple[int, int]) -> int:
    return tile[0] * tile[1]


def _mib(amount: int) -> str:
    return f"{amount / 2**20:,.0f} MiB"
