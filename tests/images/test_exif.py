"""Orientations applied once, checked against Pillow's turns."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import RGB, exif, saved, tiff
from PIL import Image

from hat_deploy.images import (
    Metadata,
    Picture,
    Pixels,
    decode,
    decode_bytes,
    encode,
    enlarged,
    write,
)


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


def with_thumbnail(start: int, length: int) -> bytes:
    """A block whose second directory says where a thumbnail is."""
    block = exif(6)
    link = 8 + 2 + 3 * 12
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, start, 514, 4, 1, length, 0)
    return block[:link] + struct.pack("<I", len(block)) + block[link + 4 :] + second


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("start", "length"),
    [(2, 2**31), (0, 4), (8, 20), (60, 2**32 - 1), (2**31, 5), (2**32 - 1, 2**32 - 1), (30, 0)],
)
def test_what_only_says_it_is_a_thumbnail_costs_nothing(kind: str, start: int, length: int) -> None:
    """It is unlinked; the directories that it says it lies in stay."""
    data = saved(RGB, kind, exif=b"Exif\0\0" + with_thumbnail(start, length))
    picture = decode_bytes(data)
    assert picture.pixels.shape == (RGB.shape[1], RGB.shape[0], 3)
    metadata = enlarged(picture.metadata, scale=2, size=(80, 48))
    again = encode(Picture(pixels=RGB, metadata=metadata), ".jpg")
    tags = Image.open(io.BytesIO(again)).getexif()
    assert (tags[256], tags[274], tags.get_ifd(1)) == (48, 1, {})


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("place", [0, 2, 8, 12, 40])
def test_a_resolution_that_lies_over_the_header_or_a_directory_is_left_out(
    order: str, place: int
) -> None:
    """Multiplying it would write there."""
    block = bytearray(exif(1, order))
    struct.pack_into(order + "I", block, 8 + 2 + 2 * 12 + 8, place)
    picture = decode_bytes(saved(RGB, "PNG", exif=b"Exif\0\0" + bytes(block)))
    assert picture.notes == ("damaged parts of the EXIF dropped",)
    changed = enlarged(picture.metadata, scale=3, size=(72, 120)).exif
    assert changed is not None and changed[:10] == block[:8] + struct.pack(order + "H", 2)
    tags = Image.Exif()
    tags.load(changed)
    assert dict(tags) == {256: 120, 274: 1}


def test_resolutions_that_share_their_number_are_multiplied_once() -> None:
    block = bytearray(exif(1))
    struct.pack_into("<HHII", block, 8 + 2, 283, 5, 1, 50)
    picture = decode_bytes(saved(RGB, "PNG", exif=b"Exif\0\0" + bytes(block)))
    tags = Image.Exif()
    tags.load(enlarged(picture.metadata, scale=2, size=(48, 80)).exif)
    assert (tags[282], tags[283]) == (144, 144)


def test_an_orientation_that_is_a_list_is_not_written_to_where_it_points() -> None:
    block = bytearray(exif(1))
    struct.pack_into("<HHII", block, 8 + 2 + 12, 274, 3, 4, 0)
    picture = decode_bytes(saved(RGB, "PNG", exif=b"Exif\0\0" + bytes(block)))
    kept = picture.metadata.exif
    assert kept is not None and kept.startswith(b"II*\0\x08\0\0\0")
    np.testing.assert_array_equal(picture.pixels, RGB)


@pytest.mark.parametrize("target", [0, 2, 8, 10, 2**31, 2**32 - 1])
def test_a_pointer_that_leads_nowhere_is_left_out(target: int) -> None:
    block = bytearray(exif(1))
    struct.pack_into("<HHII", block, 8 + 2, 34665, 4, 1, target)
    picture = decode_bytes(saved(RGB, "PNG", exif=b"Exif\0\0" + bytes(block)))
    assert picture.notes == ("damaged parts of the EXIF dropped",)
    tags = Image.Exif()
    tags.load(enlarged(picture.metadata, scale=2, size=(48, 80)).exif)
    assert dict(tags) == {274: 1, 282: 144}


def test_damaged_exif_of_a_caller_is_not_written(tmp_path: Path) -> None:
    for damaged in (b"", b"junk", b"II*\0\x08\0\0\0\xff\xff", b"II*\0" + b"\xff" * 40):
        metadata = enlarged(Metadata(exif=damaged), scale=2, size=(48, 80))
        picture = Picture(pixels=RGB, metadata=metadata)
        for suffix in (".png", ".jpg", ".webp", ".tif"):
            assert write(picture, tmp_path / f"a{suffix}") == ("damaged EXIF dropped",)
            assert decode(tmp_path / f"a{suffix}").metadata.exif is None


def test_a_damaged_unit_of_a_tiffs_resolution_does_not_cost_the_picture() -> None:
    data = tiff(RGB, photometric="rgb", resolution=(300, 300), resolutionunit=2)
    at = data.index(struct.pack("<HHI", 296, 3, 1))
    picture = decode_bytes(data[:at] + struct.pack("<HHI", 296, 3, 0) + data[at + 8 :])
    np.testing.assert_array_equal(picture.pixels, RGB)
