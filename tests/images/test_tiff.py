"""Kinds and layouts of TIFF files, written by tifffile."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from picture_files import RGB, refusal, saved, tiff
from PIL import Image

from hat_deploy.images import decode_bytes


def test_lab_tiff_becomes_rgb() -> None:
    lab = Image.new("LAB", (16, 16), (255, 128, 128))
    picture = decode_bytes(saved(lab, "TIFF"))
    assert picture.pixels.shape == (16, 16, 3)
    assert picture.notes == ("L*a*b* converted to RGB",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inverted_gray_tiff_is_put_right(dtype: Any) -> None:
    gray = np.arange(12).reshape(3, 4).astype(dtype)
    picture = decode_bytes(tiff(gray, photometric="miniswhite"))
    np.testing.assert_array_equal(picture.pixels, np.iinfo(dtype).max - gray)


@pytest.mark.parametrize("kind", ["unassalpha", "unspecified"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_straight_tiff_alpha_leaves_colours_alone(kind: str, order: str, dtype: Any) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (6, 5, 4)).astype(dtype)
    data = tiff(pixels, photometric="rgb", extrasamples=[kind], byteorder=order)
    np.testing.assert_array_equal(decode_bytes(data).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_premultiplied_tiff_alpha_becomes_straight(dtype: Any) -> None:
    limit = np.iinfo(dtype).max
    pixels = np.array([[[40, 20, 0, 80], [7, 8, 9, limit], [5, 5, 5, 0]]], dtype)
    picture = decode_bytes(tiff(pixels, photometric="rgb", extrasamples=["assocalpha"]))
    half, quarter = (limit + 1) // 2, (limit + 2) // 4
    assert picture.pixels.tolist() == [[[half, quarter, 0, 80], [7, 8, 9, limit], [5, 5, 5, 0]]]
    assert picture.notes == ("premultiplied alpha became straight",)


@pytest.mark.parametrize(
    "options",
    [{"bigtiff": True}, {"byteorder": ">"}, {"tile": (32, 32)}, {"rowsperstrip": 5}],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_layouts_of_tiff(options: dict[str, Any], dtype: Any) -> None:
    data = tiff(RGB.astype(dtype), photometric="rgb", compression="zlib", **options)
    np.testing.assert_array_equal(decode_bytes(data).pixels, RGB)


def test_a_thumbnail_page_is_no_frame() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(RGB, photometric="rgb")
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(decode_bytes(stream.getvalue()).pixels, RGB)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_other_samples_are_refused(dtype: Any) -> None:
    assert "convert it" in refusal(tiff(np.ones((4, 4), dtype), photometric="minisblack"))


def test_gray_tiff_with_alpha_is_refused() -> None:
    data = tiff(np.ones((4, 4, 2), np.uint8), photometric="minisblack", planarconfig="contig")
    assert "gray with 2 samples" in refusal(data)
