"""Files made to cost more than they are: each is a picture or a sentence, in time and memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from picture_files import RGB, SRGB, chunk, exif, png, refusal, saved

from hat_deploy.images import decode_bytes

PLAIN = saved(RGB, "PNG")


def with_chunk(kind: bytes, body: bytes) -> bytes:
    """A sound PNG with one more chunk in front of its pixels."""
    return PLAIN[:33] + chunk(kind, body) + PLAIN[33:]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"eXIf", exif(6) + bytes(9_000_000)),
        (b"iCCP", b"a\0\0" + np.random.default_rng(0).bytes(9_000_000)),
    ],
)
def test_a_chunk_that_libpng_refuses_does_not_cost_the_picture(kind: bytes, body: bytes) -> None:
    picture = decode_bytes(with_chunk(kind, body))
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.notes == (f"{kind.decode()} chunk over 8,000,000 bytes dropped",)


@pytest.mark.parametrize("profile", [b"", b"junk", SRGB[:200], bytes(2**27)])
def test_a_profile_that_libpng_drops_is_noted(profile: bytes) -> None:
    picture = decode_bytes(with_chunk(b"iCCP", b"a\0\0" + zlib.compress(profile)))
    assert picture.metadata.icc is None
    assert picture.notes == ("damaged colour profile dropped",)


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\5\0\0", bytes(300)])
def test_a_transparent_level_of_another_length_is_none(body: bytes) -> None:
    picture = decode_bytes(png(0, 8, [bytes(range(60))] * 8, 60, chunk(b"tRNS", body)))
    assert picture.pixels.shape == (8, 60) and picture.notes == ()


@pytest.mark.parametrize("body", [b"", b"\0", bytes(7), b"\xff" * 9])
def test_what_only_says_it_is_an_animation_is_none(body: bytes) -> None:
    np.testing.assert_array_equal(decode_bytes(with_chunk(b"acTL", body)).pixels, RGB)


def test_a_directory_is_laid_out_in_time_linear_in_its_size() -> None:
    """130 MB in 65,000 tags; copied once for each of them, these would take an hour."""
    code = """
from hat_deploy.images.trees import Value, lay_out
print(len(lay_out({number: Value(7, bytes(2000)) for number in range(65_000)}, 8)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(done.stdout) == 6 + 65_000 * (12 + 2000)


def tiff_of(directories: list[list[tuple[int, int, int, int]]], *, back_to: int) -> bytes:
    """A TIFF of directories one after the other; the last leads to one of them."""
    at, places = 8 + RGB.nbytes, []
    for tags in directories:
        places.append(at)
        at += 6 + 12 * len(tags)
    body = b""
    for number, tags in enumerate(directories):
        last = number == len(directories) - 1
        entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
        following = places[back_to] if last else places[number + 1]
        body += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", places[0]) + RGB.tobytes() + body


PAGE = [
    *((256, 4, 1, 40), (257, 4, 1, 24), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2)),
    *((273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, 24), (279, 4, 1, RGB.nbytes)),
]
MANY = [(254, 4, 1, 1), *((number, 3, 1, 0) for number in range(40_000, 44_095))]


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_directories_that_come_round_in_a_circle_are_refused(back_to: int) -> None:
    assert "circle" in refusal(tiff_of([PAGE, MANY, [(254, 4, 1, 1)]], back_to=back_to))


def test_a_tiff_of_a_million_tags_is_refused() -> None:
    assert "over 65536 tags" in refusal(tiff_of([PAGE, *[MANY] * 20], back_to=0))


@pytest.mark.parametrize("kind", ["EXIF", "XMP ", "ICCP"])
def test_metadata_larger_than_anybodys_is_dropped_with_a_note(kind: str) -> None:
    body = {"EXIF": exif(6), "XMP ": b"<x/>", "ICCP": SRGB}[kind] + b" " * 2**25
    data = saved(RGB, "WEBP", lossless=True, exact=True, exif=b"Exif\0\0" + exif(1))
    at = data.index(b"EXIF")
    data = data[:at] + kind.encode() + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:20] + b"\x2c" + data[21:]
    picture = decode_bytes(data)
    np.testing.assert_array_equal(picture.pixels, RGB)
    name = {"EXIF": "EXIF", "XMP ": "XMP", "ICCP": "colour profile"}[kind]
    assert picture.notes == (f"{name} over 32 MiB dropped",)


def test_a_webp_of_one_small_frame_on_a_large_canvas_is_refused() -> None:
    """A kilobyte would take gigabytes."""
    frame = saved(RGB, "WEBP")[12:]
    sides = [(16_000 - 1).to_bytes(3, "little")] * 2
    place = bytes(6) + (40 - 1).to_bytes(3, "little") + (24 - 1).to_bytes(3, "little") + bytes(4)
    chunks = [
        (b"VP8X", bytes([2, 0, 0, 0]) + b"".join(sides)),
        (b"ANIM", bytes(6)),
        (b"ANMF", place + frame),
    ]
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(d)) + d for n, d in chunks)
    assert "two different sizes" in refusal(b"RIFF" + struct.pack("<I", len(body)) + body)
