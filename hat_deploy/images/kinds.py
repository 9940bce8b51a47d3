"""What kind of file some bytes are, told by how they start."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hat_deploy.errors import PictureError
from hat_deploy.images.headers import Header, inspect_bmp, inspect_webp
from hat_deploy.images.jpeg import inspect_jpeg
from hat_deploy.images.png import inspect_png
from hat_deploy.images.tiff import inspect_tiff

_INSPECTORS: dict[Callable[[bytes], Header], tuple[bytes, ...]] = {
    inspect_png: (b"\x89PNG\r\n\x1a\n",),
    inspect_jpeg: (b"\xff\xd8\xff",),
    inspect_webp: (b"RIFF",),
    inspect_tiff: (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    inspect_bmp: (b"BM",),
}

_FOREIGN = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\0\0\x01\0": "an icon",
    b"version https://git-lfs": "a Git LFS pointer, not the image itself",
}

_MARKUP = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file",
    b"<!doctype svg": "an SVG drawing",
    b"<": "a markup file",
}


def inspect(data: bytes) -> Header:
    """The header of a file's content, without decoding it.

    Raises:
        PictureError: the content is empty, none of the formats, truncated or damaged.
    """
    if not data:
        raise PictureError("the file is empty")
    for inspect, marks in _INSPECTORS.items():
        if data.startswith(marks) and (inspect is not inspect_webp or data[8:12] == b"WEBP"):
            try:
                return inspect(data)
            except (struct.error, IndexError) as error:
                raise PictureError("its header is truncated or damaged") from error
    raise PictureError(f"it is {_foreign(data)}; expected PNG, JPEG, WebP, TIFF or BMP")


def _foreign(data: bytes) -> str:
    """What a file of none of the formats looks like."""
    for mark, name in _FOREIGN.items():
        if data.startswith(mark):
            return name
    if data[4:8] == b"ftyp":
        avif = data[8:12] in (b"avif", b"avis")
        return "an AVIF image" if avif else "a HEIC image or a video"
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, name in _MARKUP.items():
        if start.startswith(mark):
            return "an SVG drawing" if b"<svg" in start else name
    if b"\0" not in data[:1024] and all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:1024]):
        return "a text file"
    return "a file of unknown kind" if any(data[:1024]) else "a file of zeros"
