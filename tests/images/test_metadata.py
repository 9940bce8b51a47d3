"""Metadata kept where it belongs and brought in line with the pixels, read back by Pillow."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import GRAY, RGB, SRGB, XMP, chunk, exif, saved, tiff
from PIL import Image, PngImagePlugin

from hat_deploy.images import (
    Density,
    Metadata,
    Picture,
    decode_bytes,
    encode,
    enlarged,
    write,
)

KINDS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}
LARGE = np.repeat(np.repeat(RGB, 2, 0), 2, 1)


def upscaled(data: bytes, suffix: str) -> Image.Image:
    """A file decoded, made twice as large, encoded, and opened by Pillow."""
    picture = decode_bytes(data)
    metadata = enlarged(picture.metadata, scale=2, size=LARGE.shape[:2])
    result = Image.open(io.BytesIO(encode(Picture(pixels=LARGE, metadata=metadata), suffix)))
    result.load()
    return result


def shot(thumbnail: bytes = b"") -> bytes:
    """An EXIF block as a camera writes it, with a thumbnail if one is given."""
    tags = Image.Exif()
    tags[271] = "Maker"
    tags[274] = 6
    tags[282], tags[283], tags[296] = 300.0, 300.0, 2
    tags.get_ifd(34665).update({36867: "2020:01:02 03:04:05", 40962: 40, 40963: 24})
    tags.get_ifd(34853).update({1: "N", 2: (52.0, 30.0, 0.0)})
    block = tags.tobytes().removeprefix(b"Exif\0\0")
    if not thumbnail:
        return block
    order = "<" if block[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", block, 4)[0]
    link = first + 2 + 12 * struct.unpack_from(order + "H", block, first)[0]
    at = len(block)
    second = struct.pack(order + "HHHIIHHIII", 2, 513, 4, 1, at + 30, 514, 4, 1, len(thumbnail), 0)
    return block[:link] + struct.pack(order + "I", at) + block[link + 4 :] + second + thumbnail


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_xmp_are_kept(suffix: str) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    source = {
        ".png": saved(RGB, "PNG", icc_profile=SRGB, pnginfo=text),
        ".jpg": saved(RGB, "JPEG", icc_profile=SRGB, xmp=XMP),
        ".webp": saved(RGB, "WEBP", icc_profile=SRGB, xmp=XMP),
        ".tif": saved(RGB, "TIFF", icc_profile=SRGB, tiffinfo={700: XMP}),
    }[suffix]
    picture = decode_bytes(source)
    assert picture.metadata.icc == SRGB
    assert picture.metadata.xmp == XMP
    data = encode(picture, suffix)
    assert decode_bytes(data).metadata == picture.metadata
    other = Image.open(io.BytesIO(data))
    other.load()
    assert other.info["icc_profile"] == SRGB
    text_chunk = str(other.info.get("XML:com.adobe.xmp", ""))
    assert other.info.get("xmp", text_chunk.encode()) == XMP


def test_a_profile_for_other_pixels_is_dropped_with_a_note() -> None:
    cmyk = SRGB[:16] + b"CMYK" + SRGB[20:]
    picture = decode_bytes(saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", icc_profile=cmyk))
    assert picture.metadata.icc is None
    assert any("CMYK colour profile dropped" in note for note in picture.notes)
    assert decode_bytes(saved(RGB, "JPEG", icc_profile=b"junk" * 50)).notes == (
        "damaged colour profile dropped",
    )
    gray = decode_bytes(saved(RGB[..., 0], "JPEG", icc_profile=GRAY))
    assert gray.metadata.icc == GRAY
    assert Image.open(io.BytesIO(encode(gray, ".png"))).info["icc_profile"] == GRAY
    assert decode_bytes(encode(gray, ".webp")).metadata.icc is None


@pytest.mark.parametrize("source", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".tif", ".bmp"])
def test_resolution_is_multiplied_so_that_the_size_on_paper_stays(source: str, target: str) -> None:
    data = saved(RGB, KINDS[source], dpi=(300, 150))
    assert upscaled(data, target).info["dpi"] == pytest.approx((600, 300), abs=0.02)


def test_resolution_in_centimetres_and_on_its_side() -> None:
    data = tiff(RGB, photometric="rgb", resolution=(100, 50), resolutionunit=3)
    assert decode_bytes(data).metadata.density == Density(254, 127)
    turned = saved(RGB, "JPEG", dpi=(300, 150), exif=b"Exif\0\0" + exif(6))
    assert decode_bytes(turned).metadata.density == Density(150, 300)
    assert decode_bytes(saved(RGB, "PNG")).metadata.density is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
def test_exif_goes_from_every_format_to_every_other(source: str, suffix: str) -> None:
    data = saved(RGB, KINDS[source], exif=b"Exif\0\0" + shot())
    tags = upscaled(data, suffix).getexif()
    assert tags[271] == "Maker"
    assert tags.get(274, 1) == 1
    assert (tags[282], tags[283], tags[296]) == (600, 600, 2)
    inner = tags.get_ifd(34665)
    assert inner[36867] == "2020:01:02 03:04:05"
    assert (inner[40962], inner[40963]) == (80, 48)
    assert tags.get_ifd(34853)[2] == (52.0, 30.0, 0.0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_either_byte_order_survives_a_tiff(order: str) -> None:
    picture = decode_bytes(saved(RGB, "JPEG", exif=b"Exif\0\0" + _camera(order)))
    back = decode_bytes(encode(picture, ".tif"))
    assert back.metadata.exif is not None
    tags = Image.Exif()
    tags.load(back.metadata.exif)
    assert tags[33432] == "Somebody"
    assert tags.get_ifd(34665)[33434] == pytest.approx(1 / 60)


def _camera(order: str) -> bytes:
    """Copyright, and an EXIF directory with an exposure time, in one byte order."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    first = struct.pack(order + "HHHIIHHIII", 2, 33432, 2, 9, 38, 34665, 4, 1, 48, 0)
    inner = struct.pack(order + "HHHIIIII", 1, 33434, 5, 1, 66, 0, 1, 60)
    return head + first + b"Somebody\0\0" + inner


def test_a_description_of_a_scientific_stack_is_not_kept() -> None:
    metadata = decode_bytes(tiff(RGB, photometric="rgb")).metadata
    assert metadata.exif is None or b"shape" not in metadata.exif


@pytest.mark.parametrize("last", [True, False])
def test_an_embedded_thumbnail_is_dropped(last: bool) -> None:
    thumbnail = saved(RGB[:8, :8], "JPEG")
    block = shot(thumbnail) + (b"" if last else b"something else")
    picture = decode_bytes(saved(RGB, "JPEG", exif=b"Exif\0\0" + block))
    kept = picture.metadata.exif
    assert kept is not None
    assert thumbnail[:40] not in kept and thumbnail[-40:] not in kept
    assert kept.endswith(b"something else") or last
    data = encode(picture, ".jpg")
    tags = Image.open(io.BytesIO(data)).getexif()
    assert tags[271] == "Maker"
    assert tags.get_ifd(1) == {}


def test_a_dimension_that_was_short_can_grow_past_65535() -> None:
    picture = decode_bytes(saved(RGB, "JPEG", exif=b"Exif\0\0" + shot()))
    grown = enlarged(picture.metadata, scale=4, size=(70_000, 80_000))
    tags = Image.Exif()
    tags.load(grown.exif)
    inner = tags.get_ifd(34665)
    assert (inner[40962], inner[40963]) == (80_000, 70_000)
    assert tags[282] == 1200


def test_xmp_agrees_with_the_pixels() -> None:
    packet = (
        b"<x:xmpmeta><rdf:Description tiff:Orientation='6' exif:PixelXDimension=\"40\" "
        b'tiff:XResolution="300/1"><tiff:Orientation>8</tiff:Orientation>'
        b"<exif:PixelYDimension> 24 </exif:PixelYDimension><dc:title>tiff:Orientation</dc:title>"
        b"<xmp:Thumbnails>abc</xmp:Thumbnails><xmp:Thumbnails></rdf:Description></x:xmpmeta>"
    )
    picture = decode_bytes(saved(RGB, "JPEG", xmp=packet))
    changed = enlarged(picture.metadata, scale=2, size=(48, 80)).xmp
    assert changed == (
        b"<x:xmpmeta><rdf:Description tiff:Orientation='1' exif:PixelXDimension=\"80\" "
        b'tiff:XResolution="600/1"><tiff:Orientation>1</tiff:Orientation>'
        b"<exif:PixelYDimension> 48 </exif:PixelYDimension><dc:title>tiff:Orientation</dc:title>"
        b"<xmp:Thumbnails></rdf:Description></x:xmpmeta>"
    )


def test_a_profile_of_many_segments_and_colour_coding_are_kept() -> None:
    long = SRGB + bytes(200_000)
    long = len(long).to_bytes(4, "big") + long[4:]
    data = encode(Picture(pixels=RGB, metadata=Metadata(icc=long)), ".jpg")
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == long
    assert decode_bytes(data).metadata.icc == long
    plain = saved(RGB, "PNG")
    coded = decode_bytes(plain[:33] + chunk(b"cICP", bytes([9, 16, 0, 1])) + plain[33:])
    assert coded.metadata.cicp == bytes([9, 16, 0, 1])
    assert decode_bytes(encode(coded, ".png")).metadata == coded.metadata


@pytest.mark.parametrize(
    ("suffix", "pixels", "metadata", "notes"),
    [
        (".jpg", RGB, {"exif": exif(1) + bytes(70_000)}, ("EXIF over 64 KiB dropped",)),
        (".jpg", RGB, {"xmp": XMP * 2000}, ("XMP over 64 KiB dropped",)),
        (".jpg", RGB, {"cicp": bytes(4)}, ("colour coding (cICP) dropped",)),
        (".webp", RGB[..., 0], {"icc": GRAY}, ("gray colour profile dropped",)),
        (".bmp", RGB, {"icc": SRGB, "xmp": XMP}, ("colour profile dropped", "XMP dropped")),
        (".tif", RGB, {"icc": SRGB, "xmp": XMP * 2000, "exif": shot() + bytes(70_000)}, ()),
    ],
)
def test_what_a_format_cannot_hold_is_said(
    suffix: str, pixels: Any, metadata: dict[str, bytes], notes: tuple[str, ...], tmp_path: Path
) -> None:
    picture = Picture(pixels=pixels, metadata=Metadata(**metadata))
    said = write(picture, tmp_path / f"a{suffix}")
    assert len(said) == len(notes)
    assert all(note.startswith(start) for note, start in zip(said, notes, strict=True))
    kept = decode_bytes((tmp_path / f"a{suffix}").read_bytes()).metadata
    assert not notes or kept == replace(kept, **dict.fromkeys(metadata))


def test_what_a_jpeg_cannot_be_read_for_is_said() -> None:
    data = saved(RGB, "JPEG")
    body = b"Photoshop 3.0\x008BIM"
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    assert decode_bytes(data[:2] + segment + data[2:]).notes == ("IPTC and Photoshop data dropped",)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e20, float("inf"), float("nan")])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_a_resolution_that_no_format_can_write_is_dropped(
    suffix: str, value: float, tmp_path: Path
) -> None:
    picture = Picture(pixels=RGB, metadata=Metadata(density=Density(300, value)))
    assert write(picture, tmp_path / f"a{suffix}") == ("resolution without a meaning dropped",)
    assert decode_bytes((tmp_path / f"a{suffix}").read_bytes()).metadata.density is None
