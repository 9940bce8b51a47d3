"""Orientations applied once, checked against Pillow's turns."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from picture_files import RGB, exif, saved, tiff
from PIL import Image

from hat_deploy.images import Pixels, decode_bytes, encode


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """The EXIF table, written with Pillow's names for the turns."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    image = Image.fromarray(pixels)
    return np.asarray(image if turn is None else image.transpose(turn))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied_once(kind: str, order: str, orientation: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(RGB, kind, exif=b"Exif\0\0" + exif(orientation, order), **options)
    plain = decode_bytes(saved(RGB, kind, **options)).pixels
    picture = decode_bytes(data)
    np.testing.assert_array_equal(picture.pixels, upright(plain, orientation))
    assert picture.metadata.exif == exif(1, order)
    for suffix in (".png", ".jpg", ".webp"):
        again = encode(picture, suffix, quality=100)
        assert Image.open(io.BytesIO(again)).getexif()[274] == 1
        assert decode_bytes(again).pixels.shape == picture.pixels.shape


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_orientation_is_applied_once(orientation: int, channels: int, dtype: Any) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (5, 7, channels)).astype(dtype)
    data = tiff(
        pixels[..., 0] if channels == 1 else pixels,
        photometric="minisblack" if channels == 1 else "rgb",
        extratags=[(274, 3, 1, orientation, False)],
        **({"extrasamples": ["unassalpha"]} if channels == 4 else {}),
    )
    picture = decode_bytes(data)
    expected = np.dstack(
        [upright(pixels[..., i].astype(np.uint8), orientation) for i in range(channels)]
    )
    np.testing.assert_array_equal(picture.pixels, expected[..., 0] if channels == 1 else expected)
    again = encode(picture, ".tif")
    assert Image.open(io.BytesIO(again)).getexif().get(274, 1) == 1


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_without_meaning_is_no_turn(orientation: int) -> None:
    picture = decode_bytes(saved(RGB, "PNG", exif=b"Exif\0\0" + exif(orientation)))
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.metadata.exif == exif(1)


def test_a_damaged_exif_block_is_dropped() -> None:
    picture = decode_bytes(saved(RGB, "WEBP", exif=b"II*\0\x08\0\0\0\xff\xff"))
    assert picture.metadata.exif is None
