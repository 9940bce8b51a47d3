"""What kind of file some bytes are, told by how they start."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hat_deploy.errors import PictureError
from hat_deploy.images.avif import inspect_avif
from hat_deploy.images.gif import inspect_gif
from hat_deploy.images.headers import Content, Header, inspect_bmp, inspect_webp
from hat_deploy.images.jpeg import inspect_jpeg, jpeg_size
from hat_deploy.images.png import inspect_png, png_size
from hat_deploy.images.tiff import inspect_tiff

_INSPECTORS: dict[Callable[[bytes], Header], tuple[bytes, ...]] = {
    inspect_png: (b"\x89PNG\r\n\x1a\n",),
    inspect_jpeg: (b"\xff\xd8\xff",),
    inspect_webp: (b"RIFF",),
    inspect_tiff: (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    inspect_gif: (b"GIF87a", b"GIF89a"),
    inspect_bmp: (b"BM",),
    inspect_avif: (),  # told by its brands
}

_SIZES: dict[Callable[[bytes], Header], Callable[[Content], tuple[int, int]]] = {
    inspect_png: png_size,
    inspect_jpeg: jpeg_size,
    inspect_webp: lambda data: _size(inspect_webp(data)),
    inspect_tiff: lambda data: _size(inspect_tiff(data)),
    inspect_gif: lambda data: _size(inspect_gif(data)),
    inspect_bmp: lambda data: _size(inspect_bmp(data)),
    inspect_avif: lambda data: _size(inspect_avif(data)),
}
"""Height and width, without a look at the pixels: for PNG and JPEG, less than their inspectors
read, which prove the whole file."""

_SUFFIXES: dict[Callable[[bytes], Header], str] = {
    inspect_png: ".png",
    inspect_jpeg: ".jpg",
    inspect_webp: ".webp",
    inspect_tiff: ".tif",
    inspect_gif: ".gif",
    inspect_bmp: ".bmp",
    inspect_avif: ".avif",
}

_LOOKED_AT = 1024
"""Bytes by which a file's kind is told."""

_FOREIGN = {
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
    inspector = _inspector(data[:_LOOKED_AT])
    with _damage_said():
        return inspector(data)


def suffix_of(data: bytes) -> str:
    """What a file of this content is usually named: ``.png`` and so on.

    Raises:
        PictureError: the content is empty, or none of the formats.
    """
    return _SUFFIXES[_inspector(data[:_LOOKED_AT])]


def size_of(data: Content) -> tuple[int, int]:
    """Height and width by a file's header; damage behind it is not looked for.

    Args:
        data: best mapped, then little of it is read.

    Raises:
        PictureError: the content is empty, none of the formats, or its header is damaged.
    """
    inspector = _inspector(data[:_LOOKED_AT])
    with _damage_said():
        return _SIZES[inspector](data)


def _inspector(start: bytes) -> Callable[[bytes], Header]:
    """What reads a file that starts so.

    Raises:
        PictureError: nothing does.
    """
    if not start:
        raise PictureError("the file is empty")
    for inspector, marks in _INSPECTORS.items():
        if start.startswith(marks) and (inspector is not inspect_webp or start[8:12] == b"WEBP"):
            return inspector
    if _is_avif(start):
        return inspect_avif
    raise PictureError(f"it is {_foreign(start)}; expected PNG, JPEG, WebP, AVIF, GIF, TIFF or BMP")


def _is_avif(start: bytes) -> bool:
    """Whether one of the brands that a file starts with is AVIF's."""
    end = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[8:12], *(start[at : at + 4] for at in range(16, end, 4))}
    return start[4:8] == b"ftyp" and bool(brands & {b"avif", b"avis"})


@contextmanager
def _damage_said() -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError) as error:
        raise PictureError("its header is truncated or damaged") from error


def _size(header: Header) -> tuple[int, int]:
    return header.height, header.width


def _foreign(data: bytes) -> str:
    """What a file of none of the formats looks like."""
    for mark, name in _FOREIGN.items():
        if data.startswith(mark):
            return name
    if data[4:8] == b"ftyp":
        return "a HEIC image or a video"
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, name in _MARKUP.items():
        if start.startswith(mark):
            return "an SVG drawing" if b"<svg" in start else name
    if b"\0" not in data[:1024] and all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:1024]):
        return "a text file"
    return "a file of unknown kind" if any(data[:1024]) else "a file of zeros"
