"""Why an artifact has its halo, and what its tile and halo cost."""

from __future__ import annotations

import math

from hat_deploy.artifact.description import Description
from hat_deploy.geometry import default_halo, fitted, halo_windows, tile_count

FULL_HD = (1080, 1920)
"""Height and width of the image that costs are stated for."""
MEASURED = (54.6, 62.5, 73.4, 82.6)
"""PSNR to the whole image with halos of 1, 2, 3 and 4 half windows and one seam in ``SEAM``
pixels: the least of HATs of 6 to 72 blocks with random weights, by benchmarks/halo.py. SwinIRs
are above that from two half windows on; a single one was not measured for them."""
SEAM = 192


def reason(described: Description) -> str:
    """Where the halo comes from and what it leaves, for people."""
    tile, halo, window = described.tile, described.halo, described.window
    text = f"{halo}, {_origin(described)}"
    narrower = halo - (window if window % 2 else window // 2)
    left, less = (expected(tile, size, window) for size in (halo, narrower))
    if left is None:
        return text
    text += f": with random weights, missing context leaves tiles at about {left:.0f} dB or more"
    if less is not None:
        text += f", with a halo of {narrower} at {less:.0f}"
    return f"{text}; verify measures these weights"


def _origin(described: Description) -> str:
    exact = described.averages is not None
    windows = halo_windows(exact=exact)
    usual = default_halo(described.tile, described.window, exact=exact)
    if described.halo != usual:
        return f"as asked for (the default for this tile is {usual})"
    if usual < windows * described.window:
        return "the default for a tile this small"
    return "the default of exact tiles, two windows" if exact else "the default, one window"


def expected(tile: tuple[int, int], halo: int, window: int) -> float | None:
    """PSNR in dB to the whole image by missing context alone, from ``MEASURED``.

    The error lies along the seams, so its mean grows with their length.

    Returns:
        None for halos of less than half a window, which were not measured.
    """
    halves = min(2 * halo // window, len(MEASURED))
    if halves < 1:
        return None
    seams = sum(SEAM / (side - 2 * halo) for side in tile)
    return MEASURED[halves - 1] - 10 * math.log10(seams)


def computed(described: Description) -> float:
    """Pixels computed for each pixel of an image of 1920x1080, in one pass over it."""
    tile, halo = described.tile, described.halo
    count = tile_count(FULL_HD, tile, halo)
    height, width = fitted(FULL_HD, tile, halo, described.window) if described.any_size else tile
    return count * height * width / (FULL_HD[0] * FULL_HD[1])
