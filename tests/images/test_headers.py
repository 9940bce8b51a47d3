"""What headers refuse: animations, truncation, damage, sizes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import RGB, SRGB, chunk, exif, refusal, saved
from PIL import Image

from hat_deploy.errors import PictureError
from hat_deploy.images import decode_bytes


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_animations_are_refused(kind: str) -> None:
    frames = [Image.fromarray(np.roll(RGB, step, 0)) for step in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert refusal(data) == "it has 3 frames; animations are not supported"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_no_truncated_file_decodes(kind: str) -> None:
    """Cut anywhere; also cut and filled up with zeros, as an interrupted copy leaves it."""
    data = saved(RGB, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    assert decode_bytes(data).pixels.shape == RGB.shape
    for end in [*range(1, len(data), 37), len(data) - 2, len(data) - 1]:
        if kind == "BMP" and end > 54 + RGB.size - 4:
            continue
        refusal(data[:end])
    if kind in ("PNG", "JPEG"):
        refusal(data[: len(data) // 2] + bytes(len(data)))


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused() -> None:
    thumbnail = saved(RGB[:8, :8], "JPEG")
    block = b"Exif\0\0" + exif(1) + thumbnail
    data = saved(RGB, "JPEG", exif=block)
    assert "end-of-image" in refusal(data[:-200] + bytes(200))


def test_a_damaged_png_is_refused_and_bytes_after_the_end_are_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(saved(RGB, "PNG"))
    decode_bytes(bytes(data) + b"more")
    data[len(data) // 2] ^= 1
    assert refusal(bytes(data)) == "the file is damaged: its IDAT chunk fails its checksum"
    assert capfd.readouterr().err == ""


def test_names_out_of_damaged_files_stay_on_one_line() -> None:
    data = saved(RGB, "PNG")
    assert "unknown chunk" in refusal(data[:33] + struct.pack(">I", 10**6) + b"a\nbc" + data[33:])
    profile = SRGB[:16] + b"R\nB " + SRGB[20:]
    (note,) = decode_bytes(saved(RGB, "JPEG", icc_profile=profile)).notes
    assert note == "unknown colour profile dropped: the pixels are RGB"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_size_is_refused_from_the_header(kind: str) -> None:
    data = saved(RGB, kind)
    assert decode_bytes(data, max_pixels=24 * 40).pixels.shape == RGB.shape
    assert refusal(data, max_pixels=24 * 40 - 1).startswith("it has 40x24 pixels")


@pytest.mark.parametrize("lossless", [True, False])
def test_sizes_of_plain_webp_are_read(lossless: bool) -> None:
    data = saved(RGB, "WEBP", lossless=lossless)
    assert refusal(data, max_pixels=1).startswith("it has 40x24 pixels")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert "60000x60000" in refusal(data)
    assert "no side" in refusal(data.replace(*_renamed(60_000, 2**20 + 1)), max_pixels=2**62)


def _renamed(old: int, new: int) -> tuple[bytes, bytes]:
    """The IHDR chunk of the bomb, with another size."""
    chunks = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) for side in (old, new)
    ]
    return chunks[0], chunks[1]


@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]),
    edits=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_a_mutated_header_gives_a_picture_or_a_sentence(
    kind: str, edits: list[tuple[int, int]]
) -> None:
    data = bytearray(saved(RGB, kind, **({"exif": exif(6)} if kind != "BMP" else {})))
    for at, value in edits:
        data[at] = value
    try:
        picture = decode_bytes(bytes(data), max_pixels=10**6)
    except PictureError as error:
        assert "\n" not in str(error)
    else:
        assert picture.pixels.size <= 4 * 10**6
        assert not any("\n" in note for note in picture.notes)
