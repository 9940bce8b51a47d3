"""Colour profiles and XMP kept where they belong, checked against Pillow."""

from __future__ import annotations

import io

import pytest
from picture_files import GRAY, RGB, SRGB, XMP, saved
from PIL import Image, PngImagePlugin

from hat_deploy.images import decode_bytes, encode


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
