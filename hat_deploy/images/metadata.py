"""Metadata put into finished files by hand: what OpenCV leaves out or gets wrong."""

from __future__ import annotations

import struct
import zlib

from hat_deploy.images.picture import Metadata
from hat_deploy.images.tags import EXTRA_SAMPLES, ICC, XMP, TagFile

XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
"""What an XMP segment of a JPEG starts with."""


def with_jpeg_xmp(data: bytes, xmp: bytes) -> bytes:
    """Put an XMP segment after the first (JFIF) segment; one too long for a segment is not."""
    body = XMP_MARK + xmp
    if len(body) > 65_533:
        return data
    at = 4 + int.from_bytes(data[4:6], "big")
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[at:]


def with_png_xmp(data: bytes, xmp: bytes) -> bytes:
    """Put an uncompressed iTXt chunk after the IHDR chunk, which ends at byte 33."""
    body = b"iTXtXML:com.adobe.xmp" + bytes(5) + xmp
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def with_tiff_tags(data: bytes, metadata: Metadata, *, alpha: bool) -> bytes:
    """Append a new first directory: OpenCV's, and what it leaves out.

    Without ExtraSamples, readers have to guess that a fourth sample is transparency.
    """
    file = TagFile(data)
    tags, _ = file.directory(file.first)
    entries = {number: data[tag.entry : tag.entry + 12] for number, tag in tags.items()}
    tail = b"" if len(data) % 2 == 0 else b"\0"
    if alpha:
        entries[EXTRA_SAMPLES] = struct.pack(file.order + "HHIHH", EXTRA_SAMPLES, 3, 1, 2, 0)
    for number, kind, block in ((ICC, 7, metadata.icc), (XMP, 1, metadata.xmp)):
        if block and len(block) > 4:
            at = len(data) + len(tail)
            entries[number] = struct.pack(file.order + "HHII", number, kind, len(block), at)
            tail += block + b"\0" * (len(block) % 2)
    count = struct.pack(file.order + "H", len(entries))
    directory = count + b"".join(entries[number] for number in sorted(entries)) + bytes(4)
    first = struct.pack(file.order + "I", len(data) + len(tail))
    return data[:4] + first + data[8:] + tail + directory
