"""Picture files of every format, and damaged ones made of them; the same for the same number."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

import cv2
import mutations_exif
import numpy as np
from picture_files import SRGB, XMP, chunk, exif, moving, png, saved, tiff
from PIL import Image, PngImagePlugin

FORMATS = ("png", "jpeg", "webp", "avif", "gif", "tiff", "bmp")
SPECIAL = ("exif", "fill")
"""Sound files with damaged EXIF, and files mostly of 0xFF or of markers."""

RGB = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
_RGBA = np.dstack([RGB, RGB[..., 0]])
_EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def seeds(form: str) -> list[bytes]:
    """Sound files of a format, between them with everything that the decoder looks at."""
    if form == "exif":
        return [saved(RGB, kind, exif=b"Exif\0\0" + exif(6)) for kind in mutations_exif.KINDS]
    block = b"Exif\0\0" + exif(6)
    if form == "png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
        rich = saved(RGB, "PNG", icc_profile=SRGB, exif=block, pnginfo=text, dpi=(300, 300))
        colour = chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"cHRM", bytes(32))
        return [
            rich,
            saved(_RGBA, "PNG"),
            saved(Image.fromarray(RGB).quantize(16), "PNG"),
            png(0, 16, [RGB[0].tobytes()] * 8, 60, chunk(b"tRNS", b"\0\5"), colour),
            png(4, 8, [RGB[0].tobytes()] * 8, 60, chunk(b"cICP", bytes([9, 16, 0, 1]))),
        ]
    if form in ("jpeg", "fill"):
        return [
            saved(RGB, "JPEG", icc_profile=SRGB, exif=block, xmp=XMP, dpi=(300, 300)),
            saved(RGB, "JPEG", progressive=True, subsampling="4:2:0"),
            saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
            saved(RGB[..., 0], "JPEG"),
        ]
    if form == "webp":
        return [
            saved(RGB, "WEBP", icc_profile=SRGB, exif=block, xmp=XMP),
            saved(_RGBA, "WEBP", lossless=True),
            saved(_RGBA, "WEBP", quality=50),
            saved(RGB, "WEBP"),
            moving("WEBP", [RGB, RGB[::-1]], lossless=True),
            moving("WEBP", [_RGBA, _RGBA[::-1], _RGBA], exif=block),
        ]
    if form == "avif":
        deep = [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 90]
        return [
            saved(RGB, "AVIF", icc_profile=SRGB, exif=block, xmp=XMP),
            saved(_RGBA, "AVIF", quality=100, subsampling="4:4:4"),
            saved(RGB[..., 0], "AVIF", exif=block),
            cv2.imencode(".avif", RGB.astype(np.uint16) << 2, deep)[1].tobytes(),
        ]
    if form == "gif":
        still = Image.fromarray(RGB).quantize(16)
        return [
            moving("GIF", [RGB, RGB[::-1], RGB], duration=[40, 50, 60], loop=0),
            moving("GIF", [_RGBA, _RGBA[::-1]], disposal=2, duration=50),
            saved(still, "GIF", interlace=True),
            saved(still, "GIF", interlace=False, transparency=3),
        ]
    if form == "tiff":
        return [
            saved(RGB, "TIFF", compression="tiff_lzw", icc_profile=SRGB, exif=block),
            saved(RGB, "TIFF", compression="jpeg"),
            saved(Image.fromarray(RGB).quantize(16), "TIFF"),
            tiff(RGB, photometric="rgb", compression="zlib", predictor=True, tile=(16, 16)),
            tiff(RGB.astype(np.uint16), photometric="rgb", byteorder=">", bigtiff=True),
            tiff(_RGBA, photometric="rgb", extrasamples=["unassalpha"], rowsperstrip=5),
        ]
    return [
        saved(RGB, "BMP", dpi=(300, 300)),
        saved(Image.fromarray(RGB).quantize(16), "BMP"),
        cv2.imencode(".bmp", _RGBA)[1].tobytes(),
        _run_length_bmp(),
    ]


def _run_length_bmp() -> bytes:
    """An 8-bit BMP in run-length code, with a jump and a run that is spelled out."""
    palette = bytes(range(256)) * 4
    body = (b"\x14\x07\0\x04\1\2\3\4\0\2\3\0\x05\x09\0\0" * 8) + b"\0\1"
    info = struct.pack("<IiiHHIIiiII", 40, 40, 8, 1, 8, 1, len(body), 2835, 2835, 256, 0)
    start = 14 + len(info) + len(palette)
    return struct.pack("<2sIII", b"BM", start + len(body), 0, start) + info + palette + body


def case(form: str, number: int, files: list[bytes]) -> bytes:
    """The damaged file of a number; the first kilobyte is hit most."""
    if form == "exif":
        return mutations_exif.case(number)
    if form == "fill":
        return _fill(number, files)
    random = Random(f"{form} {number}")
    data = bytearray(files[number % len(files)])
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        random.choice(_MUTATIONS)(data, random)
    if form == "png" and random.random() < 0.8:
        _mend_checksums(data)
    return bytes(data)


_MOST_FILL = 400_000
_STARTS = (b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\0WEBP", b"II*\0", b"MM\0*", b"BM")


def _fill(number: int, files: list[bytes]) -> bytes:
    """A file as erased memory leaves it: longer with its number, up to some MB."""
    random = Random(f"fill {number}")
    seed = files[number % len(files)]
    header = seed[: random.choice((2, 3, 20, random.randrange(2, len(seed)), len(seed)))]
    parts = [header if random.random() < 0.9 else random.choice(_STARTS)]
    for _ in range(random.randrange(1, 6)):
        length = _MOST_FILL * (number % 100) // 100 + random.randrange(8)
        one = random.choice(_FILLINGS)
        parts.append(one * (length // len(one)))
        if random.random() < 0.3:
            at = random.randrange(len(seed))
            parts.append(seed[at : at + random.randrange(400)])
    return b"".join(parts) + random.choice((b"", b"\xff", b"\xff\xd9", seed))


_FILLINGS = (
    *(b"\xff", b"\xff", b"\xff", b"\xff\0", b"\xff\xff\0", b"\xff\xd0", b"\xff\xd8", b"\xff\xd9"),
    *(
        b"\xff\xda",
        b"\xff\1",
        b"\xff\xe1\0\2",
        b"\xff\xe1\0\0",
        b"\xff\xe1\xff\xff",
        b"\xff\xc4\0\2",
    ),
    *(
        b"\xff\xc0\0\x11\x08\0\x10\0\x10\3",
        b"\0",
        b"\xff\xff\xff\xe0\0\4\xff\xff",
        b"\xff\xfe\0\x03\xff",
    ),
)


def _place(data: bytearray, random: Random) -> int:
    end = len(data) if random.random() < 0.2 else min(len(data), 1000)
    return random.randrange(max(1, end))


def _change_byte(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    data[at : at + 1] = bytes([random.randrange(256)])


def _change_number(data: bytearray, random: Random) -> None:
    size = random.choice((1, 2, 4, 8))
    at = _place(data, random)
    value = random.choice(_EXTREMES) % 256**size
    data[at : at + size] = value.to_bytes(size, random.choice(("big", "little")))


def _cut(data: bytearray, random: Random) -> None:
    if random.random() < 0.3:
        del data[_place(data, random) :]


def _remove(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    del data[at : at + random.randrange(1, 40)]


def _repeat(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    part = bytes(data[at : at + random.randrange(1, 200)])
    data[at:at] = part * random.choice((1, 1, 3, 50))


def _move(data: bytearray, random: Random) -> None:
    at, to = _place(data, random), _place(data, random)
    part = bytes(data[at : at + random.randrange(1, 64)])
    data[to : to + len(part)] = part


_MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_change_byte, _change_byte, _change_number, _change_number, _change_number),
    *(_cut, _remove, _repeat, _move),
)


def _mend_checksums(data: bytearray) -> None:
    """Make the checksums of a PNG's chunks right, so that what they guard is looked at."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
