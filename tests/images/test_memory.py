"""What decoding and preparing takes at its peak, by kind of picture, measured against plain RGB."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from picture_files import chunk, saved, tiff

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
picture = decode(Path(sys.argv[1]))
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
    from PIL import Image

    return Image.fromarray(rgba(), "CMYK")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> int:
    """What plain RGB takes."""
    path = tmp_path_factory.mktemp("plain") / "a.png"
    path.write_bytes(quick_png(rgba()[..., :3]))
    return grown(path)


def grown(path: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    return int(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_takes_much_more_than_its_pixels_do(kind: str, plain: int, tmp_path: Path) -> None:
    """Twice what RGB takes, and four times with twice the bits; it was five to nine times."""
    assert plain > 3 * SIDE**2
    path = tmp_path / "a"
    path.write_bytes(KINDS[kind]())
    assert grown(path) < (4 if "16 bits" in kind else 2) * plain + 2**25
