"""Picture files made by other tools and by hand, and what reading them gives."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from hat_deploy.errors import PictureError
from hat_deploy.images import Pixels, decode_bytes

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>\xc3\xa9</x:xmpmeta>"
RGB = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def saved(picture: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    """What Pillow writes."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def moving(kind: str, frames: list[Pixels], **options: Any) -> bytes:
    """An animation as Pillow writes it."""
    first, *others = [Image.fromarray(frame) for frame in frames]
    return saved(first, kind, save_all=True, append_images=others, **options)


def tiff(pixels: Pixels, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block with an ImageWidth, an Orientation and an XResolution."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    tags = [(256, 4, 1, 40), (274, 3, 1, orientation), (282, 5, 1, 50)]
    entries = b"".join(
        struct.pack(order + "HHI", number, kind, count)
        + struct.pack(
            order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,))
        )
        for number, kind, count, value in tags
    )
    body = struct.pack(order + "IH", 8, 3) + entries + bytes(4)
    return head + body + struct.pack(order + "II", 72, 1)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(colour: int, bits: int, rows: list[bytes], width: int, *extra: bytes) -> bytes:
    """A PNG put together by hand, for depths that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        decode_bytes(data, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
