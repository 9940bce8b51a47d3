"""TIFF and BigTIFF files written in bands, read back by tifffile, Pillow and OpenCV."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from picture_files import RGB, SRGB, XMP
from PIL import Image

from hat_deploy.images import Metadata, Picture, Pixels, decode_bytes, encode, tiff_writer
from hat_deploy.images.tiff_writer import TiffWriter

METADATA = Metadata(icc=SRGB, xmp=XMP)


def written(pixels: Pixels, portions: list[int], **options: Any) -> bytes:
    stream = io.BytesIO()
    with TiffWriter(stream, pixels.shape, pixels.dtype, METADATA, **options) as writer:
        for rows in np.split(pixels, portions):
            writer.write(rows)
    return stream.getvalue()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("shape", [(700, 530), (700, 530, 3), (513, 512, 4), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_readers_see_the_same_picture(
    dtype: Any, shape: tuple[int, ...], tiled: bool, big: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, shape).astype(dtype)
    data = written(pixels, [1, 3, 600], tiled=tiled, big=big)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        assert (file.is_bigtiff, page.is_tiled) == (big, tiled)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        np.testing.assert_array_equal(page.asarray(), pixels)
        assert page.iccprofile == SRGB
        assert page.tags[700].value == XMP
        alpha = (tifffile.EXTRASAMPLE.UNASSALPHA,) if shape[2:] == (4,) else ()
        assert tuple(page.extrasamples) == alpha
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if shape[2:] != (4,):  # OpenCV multiplies colours by their alpha
        np.testing.assert_array_equal(seen, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    np.testing.assert_array_equal(decode_bytes(data).pixels, pixels)
    if dtype == np.uint8:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


def test_size_decides_between_strips_and_tiles_and_between_tiff_and_bigtiff(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert encode(Picture(pixels=RGB), ".tif").startswith(b"II*\0")
    monkeypatch.setattr(tiff_writer, "TILED_FROM", RGB.nbytes)
    monkeypatch.setattr(tiff_writer, "_BIG_FROM", RGB.nbytes + 3)
    with tifffile.TiffFile(io.BytesIO(encode(Picture(pixels=RGB), ".tif"))) as file:
        assert file.pages[0].is_tiled and not file.is_bigtiff
    monkeypatch.setattr(tiff_writer, "_BIG_FROM", RGB.nbytes + 2)
    assert encode(Picture(pixels=RGB), ".tif").startswith(b"II+\0")


def test_offsets_past_4_gb_are_written_and_read(tmp_path: Path) -> None:
    """The file is sparse: only its last megabyte takes room."""
    path = tmp_path / "big.tif"
    with (
        path.open("wb") as file,
        TiffWriter(file, RGB.shape, RGB.dtype, METADATA, big=True) as writer,
    ):
        file.seek(2**32 + 10)
        writer.write(RGB)
    assert path.stat().st_blocks * 512 < 2**21
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].dataoffsets[0] > 2**32
        np.testing.assert_array_equal(file.pages[0].asarray(), RGB)
        assert file.pages[0].iccprofile == SRGB


def test_rows_must_fit_and_be_complete() -> None:
    with pytest.raises(ValueError, match="0 rows of 24"), io.BytesIO() as file:
        TiffWriter(file, RGB.shape, RGB.dtype).close()
    writer = TiffWriter(io.BytesIO(), RGB.shape, RGB.dtype)
    with pytest.raises(ValueError, match="do not fit"):
        writer.write(RGB[:, 1:])
    with pytest.raises(ValueError, match="do not fit"):
        writer.write(np.concatenate([RGB, RGB]))
