"""Colours under full transparency, which nobody sees until an image is resampled."""

from __future__ import annotations

import cv2
import numpy as np

from hat_deploy.images.opencv import refusing
from hat_deploy.images.picture import Pixels
from hat_deploy.images.scratch import release

_BLOCK = 768
"""Height and width of what is filled at once."""

_REACH = 256
"""How far around a block the nearest visible pixel is looked for: as far as tiles look."""

_ROWS = 256
"""Rows that are laid over a colour at once."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
_Place = tuple[int, int]
"""Where a block starts, its row and its column."""


def bleed(pixels: Pixels, *, consume: bool = False) -> Pixels:
    """Give every fully transparent pixel the colour of the nearest visible one.

    Whatever lies under alpha 0, often black or white, would otherwise be mixed into the edges
    of what is visible by anything that looks at neighbours: a fringe. Where the nearest visible
    pixel is over 256 pixels away, it may be another one that gives its colour.

    Beside the arrays this takes less than 64 MiB.

    Args:
        pixels: uint8 or uint16, (H, W, 4) with straight alpha; gray and RGB are accepted too.
        consume: the colours may be changed in the argument itself.

    Returns:
        An array of the same kind with the alpha unchanged: a new one, or with ``consume`` the
        argument. The argument too where there is nothing to do: no alpha, nothing transparent
        or nothing visible.

    Raises:
        PictureError: there is not enough memory.
    """
    if pixels.ndim == 2 or pixels.shape[2] != 4:
        return pixels
    height, width = pixels.shape[:2]
    places = [(y, x) for y in range(0, height, _BLOCK) for x in range(0, width, _BLOCK)]
    transparent = [place for place in places if (_block(pixels, place)[..., 3] == 0).any()]
    visible = [place for place in places if _block(pixels, place)[..., 3].any()]
    if not transparent or not visible:
        return pixels
    with refusing("its transparent pixels cannot be filled"):
        filled = pixels if consume else pixels.copy()
        for place in transparent:
            _fill(filled, place, visible)
    return filled


def over(pixels: Pixels, colour: Colour) -> Pixels:
    """An image with straight alpha laid over a colour, in the values that are stored.

    Args:
        pixels: (H, W, 4), uint8 or uint16; its colours are overwritten.
        colour: red, green and blue, 0 to 255.

    Returns:
        (H, W, 3), a view of the argument.
    """
    most = np.iinfo(pixels.dtype).max
    behind = np.array(colour, np.float32) * (most / 255)
    for top in range(0, len(pixels), _ROWS):
        rows = pixels[top : top + _ROWS]
        share = rows[..., 3:].astype(np.float32) / most
        rows[..., :3] = np.rint(rows[..., :3] * share + behind * (1 - share))
        release(pixels)
    return pixels[..., :3]


def _block(pixels: Pixels, place: _Place, reach: int = 0) -> Pixels:
    """A block, and what is around it."""
    y, x = place
    rows = slice(max(0, y - reach), y + _BLOCK + reach)
    return pixels[rows, max(0, x - reach) : x + _BLOCK + reach]


def _fill(pixels: Pixels, place: _Place, visible: list[_Place]) -> None:
    """Fill what is transparent in one block; alpha stays, so blocks do not see others' filling."""
    block, around = _block(pixels, place), _block(pixels, place, _REACH)
    hidden = block[..., 3] == 0
    if not around[..., 3].any():
        colour = _colour_of(_block(pixels, _nearest(place, visible)))
        np.copyto(block[..., :3], colour, where=hidden[..., None])
        return
    _, label = cv2.distanceTransformWithLabels(
        (around[..., 3] == 0).view(np.uint8),
        *(cv2.DIST_L2, cv2.DIST_MASK_5),
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    seen = around[..., 3] != 0
    colours = np.empty((int(label.max()) + 1, 3), pixels.dtype)
    colours[label[seen]] = around[seen][:, :3]
    top, left = (min(_REACH, start) for start in place)
    inner = label[top : top + len(block), left : left + block.shape[1]]
    block[hidden, :3] = colours[inner[hidden]]


def _nearest(place: _Place, visible: list[_Place]) -> _Place:
    """The nearest block in which something is visible."""
    away = np.abs(np.array(visible) - place).max(axis=1)
    return visible[int(away.argmin())]


def _colour_of(block: Pixels) -> Pixels:
    """The colour of its first visible pixel."""
    at = int(np.argmax(block[..., 3] != 0))
    colour: Pixels = block[at // block.shape[1], at % block.shape[1], :3]
    return colour
