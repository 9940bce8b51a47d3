"""Kinds of pixels and files read, checked against Pillow."""

from __future__ import annotations

import importlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from picture_files import RGB, chunk, png, saved
from PIL import Image

from hat_deploy import images
from hat_deploy.errors import PictureError
from hat_deploy.images import Picture, decode, decode_bytes, write


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_shallow_gray_png_becomes_8_bit_gray(bits: int) -> None:
    picture = decode_bytes(png(0, bits, [b"\x1b", b"\xff"], 8 // bits))
    levels = [(0x1B >> shift) % 2**bits for shift in range(8 - bits, -1, -bits)]
    step = 255 // (2**bits - 1)
    assert picture.pixels.tolist() == [[level * step for level in levels], [255] * (8 // bits)]
    assert picture.notes == (f"{bits}-bit gray became 8-bit",)


@pytest.mark.parametrize(("bits", "dtype"), [(8, "u1"), (16, ">u2")])
def test_gray_with_alpha_becomes_rgba(bits: int, dtype: str) -> None:
    pairs = np.array([[1, 200], [77, 0]], dtype)
    picture = decode_bytes(png(4, bits, [pairs.tobytes()], 2))
    assert picture.pixels.tolist() == [[[1, 1, 1, 200], [77, 77, 77, 0]]]
    assert picture.notes == ("gray with alpha became RGB with alpha",)


@pytest.mark.parametrize(
    ("bits", "row", "key", "expected"),
    [
        (8, b"\x05\x06", 5, [5, 6]),
        (16, b"\x00\x05\x00\x06", 5, [5, 6]),
        (4, b"\x56", 5, [85, 102]),
    ],
)
def test_a_transparent_gray_level_becomes_alpha(
    bits: int, row: bytes, key: int, expected: list[int]
) -> None:
    picture = decode_bytes(png(0, bits, [row], 2, chunk(b"tRNS", struct.pack(">H", key))))
    opaque = 65535 if bits == 16 else 255
    first, second = expected
    assert picture.pixels.tolist() == [[[first] * 3 + [0], [second] * 3 + [opaque]]]


def test_a_transparent_colour_becomes_alpha() -> None:
    key = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    picture = decode_bytes(png(2, 8, [b"\x01\x02\x03\x04\x05\x06"], 2, key))
    assert picture.pixels.tolist() == [[[1, 2, 3, 0], [4, 5, 6, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_palettes_are_expanded(kind: str) -> None:
    source = Image.fromarray(RGB).quantize(16)
    picture = decode_bytes(saved(source, kind))
    np.testing.assert_array_equal(picture.pixels, np.asarray(source.convert("RGB")))
    assert picture.notes == ("palette expanded to RGB",)


def test_a_palette_with_transparency_becomes_rgba() -> None:
    source = Image.fromarray(RGB).quantize(4)
    source.info["transparency"] = b"\x00\x80"
    data = saved(source, "PNG", transparency=b"\x00\x80")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    np.testing.assert_array_equal(decode_bytes(data).pixels, expected)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_the_rgb_that_pillow_makes_of_it(kind: str) -> None:
    smooth = np.stack(np.meshgrid(np.arange(0, 256, 4), np.arange(0, 256, 4)), axis=-1)
    source = Image.fromarray(np.dstack([smooth, 255 - smooth[..., :1]]).astype(np.uint8))
    black = Image.merge("CMYK", [*source.convert("CMYK").split()[:3], source.split()[0]])
    data = saved(black, kind, **({"quality": 100} if kind == "JPEG" else {}))
    picture = decode_bytes(data)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_allclose(picture.pixels.astype(int), expected, atol=2)
    assert picture.notes == ("CMYK converted to RGB",)


@pytest.mark.parametrize("name", ["a b\nc.png", "-rf.png", os.fsdecode(b"\xff\xfe.png")])
def test_odd_names_are_read_and_written(tmp_path: Path, name: str) -> None:
    write(Picture(pixels=RGB), tmp_path / name)
    np.testing.assert_array_equal(decode(tmp_path / name).pixels, RGB)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere")
    for name, expected in {
        "pipe.png": "a named pipe",
        "folder.png": "a folder",
        "link.png": "No such file",
        "absent.png": "No such file",
    }.items():
        with pytest.raises(PictureError, match=expected):
            decode(tmp_path / name)
    with pytest.raises(PictureError, match="a device"):
        decode(Path("/dev/zero"))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(PictureError, match="MiB"):
        decode(tmp_path / "huge.png")


def test_the_package_gives_functions_though_modules_share_their_names() -> None:
    for name in ("decode", "encode"):
        module = importlib.import_module(f"hat_deploy.images.{name}")
        assert getattr(images, name) is getattr(module, name)
