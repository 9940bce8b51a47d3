"""What a GIF says of itself."""

from __future__ import annotations

import struct

from hat_deploy.errors import PictureError
from hat_deploy.images.animations import opaque
from hat_deploy.images.headers import Content, Header

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_MOST_FRAMES = 10_000


def inspect_gif(data: Content) -> Header:
    """The header of a GIF whose blocks reach its end; each image in it is a frame."""
    width, height, packed = struct.unpack_from("<HHB", data, 6)
    at, frames = 13 + _table(packed), 0
    while (block := data[at]) != _END:
        if block == _EXTENSION:
            at = _behind(data, at + 2)
        elif block == _IMAGE:
            _refuse_outside(struct.unpack_from("<4H", data, at + 1), width, height)
            at = _behind(data, at + 11 + _table(data[at + 9]))
            frames += 1
        else:
            raise PictureError("the file is damaged: a GIF with a block of no known kind")
        if frames > _MOST_FRAMES:
            raise PictureError(f"it is a GIF of over {_MOST_FRAMES} frames")
        if at >= len(data):
            raise PictureError("the file is truncated: a GIF ends with a trailer")
    if not frames:
        raise PictureError("the file is damaged: it is a GIF without an image")
    return Header(
        width=width,
        height=height,
        frames=frames,
        moving=frames > 1,
        notes=("palette expanded to RGB",),
        fix=opaque,
    )


def _table(packed: int) -> int:
    """Bytes of the colour table that a packed field announces."""
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _behind(data: Content, at: int) -> int:
    """The place behind a row of sub-blocks, which ends with an empty one."""
    while length := data[at]:
        at += 1 + length
    return at + 1


def _refuse_outside(place: tuple[int, ...], width: int, height: int) -> None:
    x, y, across, down = place
    if x + across > width or y + down > height:
        raise PictureError("the file is damaged: a GIF with a frame outside its canvas")
