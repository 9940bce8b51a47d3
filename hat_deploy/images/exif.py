"""The orientation in an EXIF block: taken out of the block, and applied to pixels."""

from __future__ import annotations

import struct

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Pixels
from hat_deploy.images.tags import NUMBERS, ORIENTATION, TagFile


def upright_exif(exif: bytes | None) -> tuple[bytes | None, int]:
    """The block with its orientation set to 1, and the orientation it had (1 if none).

    A block that cannot be parsed is dropped: nobody could say how it wants to be turned.
    """
    if exif is None:
        return None, 1
    try:
        block = TagFile(exif)
        tag = block.directory(block.first)[0].get(ORIENTATION)
        orientation = 1 if tag is None else block.number(tag)
    except (PictureError, struct.error):
        return None, 1
    if tag is None or orientation == 1:
        return exif, 1
    upright = bytearray(exif)
    struct.pack_into(block.order + NUMBERS[tag.kind], upright, tag.at, 1)
    return bytes(upright), orientation if 1 <= orientation <= 8 else 1


def oriented(pixels: Pixels, orientation: int) -> Pixels:
    """Upright pixels, by the meaning that EXIF 2.3 gives to orientations 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
