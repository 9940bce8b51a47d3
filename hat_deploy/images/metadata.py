"""Metadata for a result, and what OpenCV leaves out of finished files or gets wrong."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from fractions import Fraction

from hat_deploy.images.exif import is_sound, resized_exif
from hat_deploy.images.picture import Density, Metadata
from hat_deploy.images.xmp import resized_xmp

XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
"""What an XMP segment of a JPEG starts with."""

HEAD = 64
"""How many bytes of a file :func:`completed` wants to see."""

MOST_JPEG_EXIF = 65_527
MOST_JPEG_XMP = 65_533 - len(XMP_MARK)
MOST_JPEG_ICC = 65_519
"""Bytes that fit into one segment of a JPEG."""

_MOST_DENSITY = 10_000_000
"""Pixels to the inch that every format has the digits for."""


def enlarged(metadata: Metadata, *, scale: Fraction, size: tuple[int, int]) -> Metadata:
    """The metadata of an image for its upscaled result.

    Dimensions in EXIF and XMP are set, and resolutions are multiplied: there are ``scale`` times
    as many pixels to the inch, and the size on paper stays what it was.

    Args:
        metadata: as decoded.
        scale: the factor.
        size: height and width of the result.
    """
    density = metadata.density
    return replace(
        metadata,
        exif=metadata.exif and resized_exif(metadata.exif, size=size, scale=scale),
        xmp=metadata.xmp and resized_xmp(metadata.xmp, size=size, scale=scale),
        density=density and Density(float(density.x * scale), float(density.y * scale)),
    )


def fitting(metadata: Metadata, form: str, *, gray: bool) -> tuple[Metadata, tuple[str, ...]]:
    """What a format can hold of an image's metadata, and a note on each thing that it cannot."""
    damaged: tuple[str, ...] = ()
    if metadata.exif is not None and not is_sound(metadata.exif):
        metadata, damaged = replace(metadata, exif=None), ("damaged EXIF dropped",)
    density = metadata.density
    if density and not (0 < density.x < _MOST_DENSITY and 0 < density.y < _MOST_DENSITY):
        metadata = replace(metadata, density=None)
        damaged += ("resolution without a meaning dropped",)
    drop: dict[str, str] = {}
    if form in ("bmp", "gif"):
        drop = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP"}
    if form == "webp" and gray:
        drop["icc"] = "gray colour profile"
    if form == "jpeg" and len(metadata.exif or b"") > MOST_JPEG_EXIF:
        drop["exif"] = "EXIF over 64 KiB"
    if form == "jpeg" and len(metadata.xmp or b"") > MOST_JPEG_XMP:
        drop["xmp"] = "XMP over 64 KiB"
    if form == "jpeg" and len(metadata.icc or b"") > 255 * MOST_JPEG_ICC:
        drop["icc"] = "colour profile over 16 MB"
    if form != "png":
        drop["cicp"] = "colour coding (cICP)"
    held = {name: what for name, what in drop.items() if getattr(metadata, name) is not None}
    known = {"bmp": "BMP", "webp": "WebP", "jpeg": "JPEG", "tiff": "TIFF", "avif": "AVIF"}
    known["gif"] = "GIF"
    notes = tuple(f"{what} dropped: {known[form]} cannot hold it" for what in held.values())
    return replace(metadata, **dict.fromkeys(held)), (*damaged, *notes)


def completed(form: str, head: bytes, metadata: Metadata) -> bytes:
    """A file's first ``HEAD`` bytes with what OpenCV does not write into such a file.

    PNG: XMP (OpenCV 5.0 makes it Latin-1 and reads past its end), resolution, colour coding.
    JPEG: XMP, resolution, a profile longer than a segment. BMP: resolution.
    """
    if form == "png":
        return head[:33] + b"".join(_png_chunks(metadata)) + head[33:]
    if form == "jpeg":
        after = 4 + int.from_bytes(head[4:6], "big")
        return _with_jfif_density(head[:after], metadata) + _segments(metadata) + head[after:]
    if form == "bmp" and metadata.density:
        per_metre = (round(metadata.density.x / 0.0254), round(metadata.density.y / 0.0254))
        return head[:38] + struct.pack("<ii", *per_metre) + head[46:]
    return head


def _png_chunks(metadata: Metadata) -> list[bytes]:
    chunks = []
    if metadata.cicp:
        chunks.append(_png_chunk(b"cICP", metadata.cicp))
    if metadata.density:
        per_metre = (round(metadata.density.x / 0.0254), round(metadata.density.y / 0.0254))
        chunks.append(_png_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if metadata.xmp:
        chunks.append(_png_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + metadata.xmp))
    return chunks


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _with_jfif_density(head: bytes, metadata: Metadata) -> bytes:
    density = metadata.density
    if density is None or max(density.x, density.y) >= 65_535.5 or head[6:11] != b"JFIF\0":
        return head
    return head[:13] + struct.pack(">BHH", 1, round(density.x), round(density.y)) + head[18:]


def _segments(metadata: Metadata) -> bytes:
    """XMP, and a profile that takes several segments."""
    bodies = []
    if metadata.xmp:
        bodies.append(b"\xff\xe1" + _counted(XMP_MARK + metadata.xmp))
    icc = metadata.icc or b""
    if len(icc) > MOST_JPEG_ICC:
        parts = [icc[at : at + MOST_JPEG_ICC] for at in range(0, len(icc), MOST_JPEG_ICC)]
        for number, part in enumerate(parts, 1):
            mark = b"ICC_PROFILE\0" + bytes([number, len(parts)])
            bodies.append(b"\xff\xe2" + _counted(mark + part))
    return b"".join(bodies)


def _counted(body: bytes) -> bytes:
    return struct.pack(">H", len(body) + 2) + body
