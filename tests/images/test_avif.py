"""AVIF: what other programs write is read whole, and they read what is written here."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from picture_files import RGB, SRGB, XMP, exif, refusal, saved
from PIL import Image, ImageOps

from hat_deploy.images import Metadata, Picture, Pixels, decode_bytes, encode, write

RGBA = np.dstack([RGB, RGB[..., 0]])
SMOOTH = cv2.resize(RGB, (80, 48), interpolation=cv2.INTER_CUBIC)


def deep(pixels: Pixels, bits: int) -> bytes:
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    return bytes(cv2.imencode(".avif", pixels, options)[1].tobytes())


@pytest.mark.parametrize("pixels", [RGB, RGBA], ids=["RGB", "RGBA"])
def test_an_avif_of_another_program_is_read_exactly(pixels: Pixels) -> None:
    picture = decode_bytes(saved(pixels, "AVIF", quality=100, subsampling="4:4:4"))
    assert picture.pixels.dtype == np.uint8
    assert np.abs(picture.pixels.astype(int) - pixels).max() <= 3
    assert picture.notes == ()


def test_gray_stays_gray() -> None:
    picture = Picture(pixels=RGB[..., 0])
    assert np.array_equal(decode_bytes(encode(picture, ".avif", quality=100)).pixels, RGB[..., 0])


@pytest.mark.parametrize("bits", [10, 12])
def test_ten_and_twelve_bits_are_spread_over_sixteen(bits: int) -> None:
    levels = np.linspace(0, 2**bits - 1, 64).astype(np.uint16)
    picture = decode_bytes(deep(np.tile(levels, (16, 1)), bits))
    assert picture.pixels.dtype == np.uint16
    assert picture.pixels[0, 0] == 0 and picture.pixels[0, -1] == 65535
    assert np.abs(picture.pixels[0] - levels * 65535.0 / (2**bits - 1)).max() < 2
    back = decode_bytes(encode(picture, ".avif", quality=100)).pixels
    assert np.abs(back.astype(int) - picture.pixels).max() < 16


def test_profile_exif_and_xmp_are_read_and_written() -> None:
    source = saved(RGB, "AVIF", icc_profile=SRGB, xmp=XMP, exif=b"Exif\0\0" + exif(1))
    picture = decode_bytes(source)
    assert picture.metadata == Metadata(icc=SRGB, exif=picture.metadata.exif, xmp=XMP)
    data = encode(picture, ".avif")
    assert decode_bytes(data).metadata == picture.metadata
    other = Image.open(io.BytesIO(data))
    assert other.info["icc_profile"] == SRGB
    assert other.info["xmp"] == XMP
    assert other.getexif()[256] == 40


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_as_its_own_properties_say(orientation: int) -> None:
    """Pillow stores an orientation so; that of the EXIF does not count then."""
    block = b"Exif\0\0" + exif(orientation)
    source = saved(RGB, "AVIF", exif=block, quality=100, subsampling="4:4:4")
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(source))))
    picture = decode_bytes(source)
    assert np.array_equal(picture.pixels, expected)
    again = Image.open(io.BytesIO(encode(picture, ".avif", quality=100)))
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(again)), expected)


def test_metadata_that_refers_to_the_image_does_not_hide_it() -> None:
    """OpenCV refuses such a file as it is: with a short head and a ``cdsc`` reference."""
    source = encode(Picture(pixels=RGB, metadata=Metadata(exif=exif(1))), ".avif")
    at = source.index(b"cdsc")
    picture = decode_bytes(source)
    assert picture.metadata.exif == exif(1)
    assert np.array_equal(
        picture.pixels, decode_bytes(source[:at] + b"free" + source[at + 4 :]).pixels
    )


def test_a_coding_for_other_colours_is_noted_where_it_is_lost(tmp_path: Path) -> None:
    source = bytearray(saved(RGB, "AVIF"))
    at = source.index(b"nclx") + 4
    struct.pack_into(">HH", source, at, 12, 16)  # Display P3, PQ
    picture = decode_bytes(bytes(source))
    assert picture.metadata.cicp == bytes([12, 16, 0, 1])
    assert decode_bytes(encode(picture, ".png")).metadata.cicp == picture.metadata.cicp
    (note,) = write(picture, tmp_path / "a.avif")
    assert note.startswith("colour coding (cICP) dropped: AVIF")


def test_quality_decides_on_size_and_a_hundred_is_lossless() -> None:
    picture = Picture(pixels=SMOOTH)
    sizes = [len(encode(picture, ".avif", quality=quality)) for quality in (50, 95, 100)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3
    whole = encode(picture, ".avif", quality=100)
    assert np.array_equal(decode_bytes(whole).pixels, SMOOTH)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(whole))), SMOOTH)


def test_sixteen_bits_are_kept_to_twelve_with_a_note(tmp_path: Path) -> None:
    picture = Picture(pixels=SMOOTH.astype(np.uint16) * 257)
    assert write(picture, tmp_path / "a.avif") == ("16 bits became 12",)


LARGE = np.zeros((1200, 1300, 3), np.uint8)
LARGE_SIZE, SMALL_SIZE = struct.pack(">II", 1300, 1200), struct.pack(">II", 40, 24)


def nested(depth: int) -> bytes:
    """Boxes in boxes."""
    content = b""
    for _ in range(depth):
        content = struct.pack(">I4sI", 12 + len(content), b"meta", 0) + content
    return content


def grid(width: int, height: int) -> bytes:
    """An AVIF that says of itself to be so large."""
    data = bytearray(saved(RGB, "AVIF"))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    return bytes(data)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data[:200], "the file is truncated or damaged"),
        (lambda data: data[:-40], "the file is truncated or damaged: a box passes its end"),
        (
            lambda data: data.replace(b"ispe", b"free"),
            "the file is damaged: an AVIF without a size",
        ),
        (
            lambda data: data.replace(b"pitm", b"free"),
            "the file is damaged: an AVIF without its pit",
        ),
        (lambda data: grid(20_000, 20_000), "it has 20000x20000 pixels"),
        (
            lambda data: saved(LARGE, "AVIF").replace(LARGE_SIZE, SMALL_SIZE),
            "the file is damaged: ",
        ),
        (lambda data: data[:8] + b"avis" + data[12:], "it is an animated AVIF"),
        (lambda data: data[:32] + nested(3000), "the file is damaged: an AVIF without its pit"),
        (lambda data: data + b"\0\0\0\x08free" * 5000, "it is an AVIF of over 4096 boxes"),
        (lambda data: data.replace(b"pixi", b"clap"), "it is an AVIF that crops its image"),
    ],
)
def test_what_cannot_be_read_is_refused(change: Any, expected: str) -> None:
    assert refusal(change(saved(RGB, "AVIF"))).startswith(expected)
