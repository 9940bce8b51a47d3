"""What decoding and preparing takes at its peak, by kind of picture, measured against plain RGB."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from picture_files import chunk, exif, moving, saved, tiff
from PIL import Image

from hat_deploy.folders import reading
from hat_deploy.images import Pixels

SIDE = 2400

MEASURE = """
import sys
from pathlib import Path
import numpy as np
from hat_deploy.images import Picture, bleed, decode, decode_bytes, encode
from peak import peak

small = np.zeros((64, 64, 4), np.uint8)
small[0] = 255  # something visible, something not
for suffix in (".png", ".tif"):
    decode_bytes(encode(Picture(pixels=small), suffix))
bleed(small)
before = peak()
picture = decode(Path(sys.argv[1]), animations=True)
bleed(picture.pixels, consume=True)
print(peak() - before)
"""


def gray() -> Pixels:
    return np.add.outer(np.arange(SIDE), np.arange(SIDE)).astype(np.uint8)


def rgba() -> Pixels:
    """Half transparent, partly far away from anything visible."""
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, : SIDE // 2] = 0
    return np.dstack([gray(), gray(), gray(), alpha])


def quick_png(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def with_transparent_level(bits: int) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, 0, 0, 0, 0)
    pixels = gray().astype(f">u{bits // 8}")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), 1)
    chunks = [(b"IHDR", header), (b"tRNS", b"\0\5"), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def tiff_of(pixels: Pixels, **options: Any) -> bytes:
    return tiff(pixels, compression="zlib", rowsperstrip=64, **options)


PLAIN = {"RGB": lambda: quick_png(rgba()[..., :3])}

KINDS: dict[str, Callable[[], bytes]] = {
    "half transparent RGBA": lambda: quick_png(rgba()),
    "half transparent RGBA of 16 bits": lambda: quick_png(rgba().astype(np.uint16) * 257),
    "gray with a transparent level": lambda: with_transparent_level(8),
    "gray with a transparent level of 16 bits": lambda: with_transparent_level(16),
    "premultiplied TIFF": lambda: tiff_of(rgba(), photometric="rgb", extrasamples=["assocalpha"]),
    "straight TIFF": lambda: tiff_of(rgba(), photometric="rgb", extrasamples=["unassalpha"]),
    "inverted TIFF of 16 bits": lambda: tiff_of(
        gray().astype(np.uint16) * 257, photometric="miniswhite"
    ),
    "CMYK JPEG": lambda: saved(_cmyk(), "JPEG"),
}


def _cmyk() -> Any:
    return Image.fromarray(rgba(), "CMYK")


@dataclass(frozen=True)
class Taken:
    """What a file takes, and what was foretold."""

    grown: int
    foretold: int


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Taken]:
    """Measures a kind of picture, once."""
    folder = tmp_path_factory.mktemp("kinds")

    @cache
    def measured(kind: str) -> Taken:
        path = folder / "a"
        path.write_bytes((PLAIN | KINDS | COSTLY)[kind]())
        source = reading.read(path, max_pixels=2 * SIDE**2)
        return Taken(grown(path), source.most_decoding_bytes + len(source.data))

    return measured


def grown(path: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    return int(done.stdout)


def _bitmap(pixels: Pixels, kind: str, **options: Any) -> bytes:
    return saved(Image.fromarray(pixels), kind, **options)


COSTLY: dict[str, Callable[[], bytes]] = {
    "TIFF in one strip": lambda: tiff(rgba(), photometric="rgb", extrasamples=["unassalpha"]),
    "premultiplied TIFF of 16 bits in one strip": lambda: tiff(
        rgba().astype(np.uint16) * 257, photometric="rgb", extrasamples=["assocalpha"]
    ),
    "progressive CMYK JPEG": lambda: saved(_cmyk(), "JPEG", progressive=True, subsampling=0),
    "turned progressive JPEG": lambda: _bitmap(
        rgba()[..., :3], "JPEG", progressive=True, subsampling=0, exif=b"Exif\0\0" + exif(6)
    ),
    "lossless WebP": lambda: _bitmap(rgba(), "WEBP", lossless=True, method=0, exact=True),
    "lossy WebP with alpha": lambda: _bitmap(rgba(), "WEBP", quality=50, method=0),
    "BMP with alpha": lambda: cv2.imencode(".bmp", rgba())[1].tobytes(),
    "AVIF of 12 bits with alpha": lambda: cv2.imencode(
        ".avif",
        np.full((SIDE, SIDE, 4), 2000, np.uint16),
        [cv2.IMWRITE_AVIF_DEPTH, 12, cv2.IMWRITE_AVIF_SPEED, 10],
    )[1].tobytes(),
    "GIF": lambda: saved(gray(), "GIF"),
    "animated WebP": lambda: moving("WEBP", [rgba(), rgba()[::-1]], method=0, quality=50),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_takes_much_more_than_its_pixels_do(
    kind: str, taken: Callable[[str], Taken]
) -> None:
    """Twice what RGB takes, and four times with twice the bits; it was five to nine times."""
    plain = taken("RGB").grown
    assert plain > 3 * SIDE**2
    assert taken(kind).grown < (4 if "16 bits" in kind else 2) * plain + 2**25


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *COSTLY])
def test_what_decoding_takes_is_known_from_the_header(
    kind: str, taken: Callable[[str], Taken]
) -> None:
    """Runs reserve as much before they decode; the file itself comes on top."""
    assert taken(kind).grown < taken(kind).foretold + 2**25


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_memory_that_runs_out_is_a_sentence(tmp_path: Path) -> None:
    """Whether OpenCV, a codec or numpy asked for it."""
    path = tmp_path / "a.png"
    path.write_bytes(quick_png(np.zeros((9000, 9000), np.uint8)))
    code = """
import resource, sys
from pathlib import Path
import cv2, numpy as np
from hat_deploy.errors import PictureError
from hat_deploy.images import decode
from hat_deploy.images.opencv import refusing

pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**26
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
one = np.zeros((1, 1), np.uint8)
for ask in (
    lambda: decode(Path(sys.argv[1])),
    lambda: cv2.resize(one, (20_000, 20_000)),
    lambda: np.ones(2**30, np.uint8),
):
    try:
        with refusing("it cannot be decoded"):
            ask()
    except PictureError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    sentence = "it cannot be decoded: there is not enough memory for an image of this size"
    assert done.stdout.splitlines() == [sentence] * 3
