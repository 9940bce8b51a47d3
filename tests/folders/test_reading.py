from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from hat_deploy.errors import PictureError
from hat_deploy.folders.reading import read, read_size

LIMIT = 10_000
RGB = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def saved(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "avif", "gif", "tiff", "bmp"])
def test_the_size_is_known_without_reading_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image"
    path.write_bytes(saved(RGB, kind))
    source = read(path, max_pixels=LIMIT)
    monkeypatch.setattr(Path, "read_bytes", pytest.fail)
    assert read_size(path, max_pixels=LIMIT) == (source.height, source.width) == (24, 40)


def test_a_directory_at_the_end_of_a_tiff_is_found(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(saved(RGB, "tiff", compression="tiff_lzw"))
    assert int.from_bytes(path.read_bytes()[4:8], "little") > path.stat().st_size // 2
    assert read_size(path, max_pixels=LIMIT) == (24, 40)
    tifffile.imwrite(path, RGB, bigtiff=True)
    assert read_size(path, max_pixels=LIMIT) == (24, 40)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pixels_that_are_not_there_are_not_looked_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(saved(RGB, kind)[:-200])
    assert read_size(path, max_pixels=LIMIT) == (24, 40)
    with pytest.raises(PictureError, match="truncated"):
        read(path, max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the file is empty"),
        (b"hello", "it is a text file"),
        (saved(RGB, "png")[:20], "header is truncated"),
        (saved(RGB, "jpeg")[:30], "truncated"),
        (saved(RGB, "webp")[:-9], "the file is truncated"),
    ],
)
def test_a_header_that_is_none_is_said(data: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=expected):
        read_size(path, max_pixels=LIMIT)


def test_what_cannot_be_read_or_is_too_large_is_said(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    with pytest.raises(PictureError, match="it cannot be read: No such file"):
        read_size(path, max_pixels=LIMIT)
    path.write_bytes(saved(RGB, "png"))
    with pytest.raises(PictureError, match="40x24 pixels, and at most 100"):
        read_size(path, max_pixels=100)
