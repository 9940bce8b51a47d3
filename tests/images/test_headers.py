"""What headers refuse: animations, truncation, damage, sizes."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from picture_files import RGB, SRGB, chunk, exif, moving, refusal, saved, tiff

from hat_deploy.images import Metadata, Picture, decode_bytes, encode


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_animations_of_other_formats_are_refused(kind: str) -> None:
    data = moving(kind, [np.roll(RGB, step, 0) for step in range(3)])
    expected = "it has 3 frames; of animations, GIF and WebP are supported"
    assert refusal(data) == refusal(data, animations=True) == expected


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


def test_damaged_chunks_that_are_not_pixels_are_dropped_with_a_note(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(saved(RGB, "PNG", exif=exif(6)))
    data[data.index(b"eXIf") + 20] ^= 1
    picture = decode_bytes(bytes(data))
    assert picture.notes == ("damaged eXIf chunk dropped",)
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert capfd.readouterr().err == ""


def test_exif_is_found_among_texts_where_older_tools_put_it() -> None:
    plain = saved(RGB, "PNG")
    block = b"Exif\0\0" + exif(6)
    spelled = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    texts = chunk(b"tEXt", b"Comment\0hello") + chunk(
        b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(spelled)
    )
    picture = decode_bytes(plain[:33] + texts + plain[33:])
    assert picture.metadata.exif is not None
    assert picture.pixels.shape == (40, 24, 3)


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


def test_a_thousand_compressed_texts_are_not_unpacked() -> None:
    """Eight gigabytes in all; libpng would take a minute over them."""
    plain = saved(RGB, "PNG")
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(8_000_000)))
    started = time.process_time()
    picture = decode_bytes(plain[:33] + text * 1000 + plain[33:])
    assert time.process_time() - started < 2
    np.testing.assert_array_equal(picture.pixels, RGB)


def test_a_profile_that_unpacks_to_much_is_dropped_or_refused() -> None:
    plain = saved(RGB, "PNG")
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**27)))
    started = time.process_time()
    picture = decode_bytes(plain[:33] + bomb + plain[33:])
    assert time.process_time() - started < 2 and picture.metadata.icc is None


def test_a_png_of_no_bits_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 4, 4, 0, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", b"\0\5"), (b"IDAT", b""), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)
    assert refusal(data) == "the file is damaged: a PNG of 0 bits a sample"


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = saved(RGB, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert decode_bytes(data[:-2] + data[last:-2] * 9 + data[-2:]).pixels.shape == RGB.shape
    assert "scans; at most 100" in refusal(data[:-2] + data[last:-2] * 200 + data[-2:])


def test_segments_and_chunks_without_end_are_refused() -> None:
    jpeg = saved(RGB, "JPEG")
    assert "10000 segments" in refusal(jpeg[:2] + b"\xff\xe9\0\2" * 20_000 + jpeg[2:])
    webp = saved(RGB, "WEBP", exif=exif(1))
    body = webp[12:] + b"JUNK\0\0\0\0" * 20_000
    data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    assert "10000 chunks" in refusal(data)
    png = saved(RGB, "PNG")
    many = png[:33] + chunk(b"juNk", b"") * 10_001 + png[33:]
    assert "10000 chunks" in refusal(many)


def test_a_webp_whose_pixels_have_another_size_than_its_canvas_is_refused() -> None:
    data = saved(RGB, "WEBP", exif=exif(1))
    assert data[12:16] == b"VP8X"
    assert "two different sizes" in refusal(data[:24] + b"\x08" + data[25:])


def test_a_tiff_of_oversized_tiles_is_refused() -> None:
    data = tiff(RGB, photometric="rgb", tile=(16, 16))
    entry = data.index(struct.pack("<H", 322), 8)
    data = data[:entry] + struct.pack("<HHII", 322, 4, 1, 2**30) + data[entry + 12 :]
    assert "1073741824x16 tiles" in refusal(data)


def test_exif_tags_that_share_their_bytes_do_not_multiply_them() -> None:
    """Four thousand tags of 64 KB each in a file of 120 KB."""
    tags = [(number, 7, 2**16, 8) for number in range(4000)]
    inner = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
    shot = struct.pack("<HHHIIIHI", 1, 34665, 4, 1, 26, 0, 0, 0)
    block = Metadata(exif=b"II*\0\x08\0\0\0" + shot)
    data = encode(Picture(pixels=np.zeros((300, 300), np.uint8), metadata=block), ".tif")
    data += bytes(2**16)
    entry = data.index(struct.pack("<HHI", 34665, 4, 1))
    data = data[: entry + 8] + struct.pack("<I", len(data)) + data[entry + 12 :] + inner + bytes(4)
    kept = decode_bytes(data).metadata.exif
    assert kept is not None and len(kept) < 2**24 + 2**17


def test_erased_memory_in_place_of_a_jpeg_is_refused_at_once() -> None:
    """Every byte is the start of a marker; looked at from each anew, these would take days."""
    code = """
from hat_deploy.errors import PictureError
from hat_deploy.images import decode_bytes
for start in (b"\\xff\\xd8", b"\\xff\\xd8\\xff\\xe0\\0\\4\\0\\0"):
    try:
        decode_bytes(start + b"\\xff" * 10**7)
    except PictureError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines() == ["the file is truncated inside its header"] * 2
