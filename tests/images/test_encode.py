"""Pictures written: what comes back, and what Pillow and tifffile read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from picture_files import RGB
from PIL import Image

from hat_deploy.errors import PictureError
from hat_deploy.images import FORMATS, Picture, Pixels, decode, decode_bytes, encode, write

pictures = st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([(), (3,), (4,)]), st.booleans()
).flatmap(
    lambda drawn: hnp.arrays(np.uint16 if drawn[3] else np.uint8, (drawn[0], drawn[1], *drawn[2]))
)


MODES = {form: form.upper() for form in FORMATS.values()}


@given(pixels=pictures, suffix=st.sampled_from([".png", ".TIF", ".tiff"]))
@settings(max_examples=150, deadline=None)
def test_png_and_tiff_give_every_picture_back(pixels: Pixels, suffix: str) -> None:
    back = decode_bytes(encode(Picture(pixels=pixels), suffix))
    assert back.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.notes == ()


@given(pixels=pictures.filter(lambda pixels: pixels.dtype == np.uint8))
@settings(max_examples=80, deadline=None)
def test_lossless_webp_and_bmp_give_8_bit_pictures_back(pixels: Pixels) -> None:
    picture = Picture(pixels=pixels)
    expected = pixels
    np.testing.assert_array_equal(decode_bytes(encode(picture, ".bmp")).pixels, expected)
    back = decode_bytes(encode(picture, ".webp", quality=100)).pixels
    if pixels.ndim == 2:
        expected = np.dstack([pixels] * 3)
    if pixels.ndim == 3 and pixels.shape[2] == 4 and (pixels[..., 3] == 255).all():
        expected = pixels[..., :3]
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".gif"])
@pytest.mark.parametrize("shape", [(24, 40), (24, 40, 3), (24, 40, 4)])
def test_pillow_reads_what_is_written(suffix: str, shape: tuple[int, ...]) -> None:
    if FORMATS[suffix] == "jpeg" and len(shape) == 3 and shape[2] == 4:
        pytest.skip("JPEG holds no alpha")
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    other = Image.open(io.BytesIO(encode(Picture(pixels=pixels), suffix, quality=100)))
    if FORMATS[suffix] == "webp" and len(shape) == 2:
        pixels = np.dstack([pixels] * 3)
    assert other.format == MODES[FORMATS[suffix]]
    tolerance = 12 if FORMATS[suffix] == "jpeg" else 0
    np.testing.assert_allclose(np.asarray(other).astype(int), pixels, atol=tolerance)


def test_tiff_alpha_is_declared_straight_and_16_bit_survives_another_reader() -> None:
    pixels = np.random.default_rng(2).integers(0, 65536, (9, 7, 4), np.uint16)
    data = encode(Picture(pixels=pixels), ".tif")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        assert page.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        assert page.bitspersample == 16


def test_jpeg_is_444_and_quality_is_used() -> None:
    picture = Picture(pixels=RGB)
    data = encode(picture, ".jpg")
    assert [layer[1:3] for layer in Image.open(io.BytesIO(data)).layer] == [(1, 1)] * 3
    assert len(encode(picture, ".jpg", quality=40)) < len(data)
    assert len(encode(picture, ".webp", quality=40)) < len(encode(picture, ".webp"))


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_16_bit_needs_png_or_tiff(suffix: str) -> None:
    with pytest.raises(PictureError, match="use PNG or TIFF"):
        encode(Picture(pixels=RGB.astype(np.uint16)), suffix)


@pytest.mark.parametrize(("suffix", "side"), [(".jpg", 65_501), (".webp", 16_384)])
def test_sides_that_a_format_cannot_hold(suffix: str, side: int) -> None:
    with pytest.raises(PictureError, match=f"{side}x1 pixels.*use PNG or TIFF"):
        encode(Picture(pixels=np.zeros((1, side), np.uint8)), suffix)
    encode(Picture(pixels=np.zeros((1, side - 1), np.uint8)), suffix)


def test_encode_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="not one of"):
        encode(Picture(pixels=RGB), ".jxl")
    with pytest.raises(ValueError, match="1 to 100"):
        encode(Picture(pixels=RGB), ".jpg", quality=0)


def test_writing_makes_folders_and_replaces_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.png"
    write(Picture(pixels=RGB[:4]), target)
    write(Picture(pixels=RGB), target)
    assert decode(target).pixels.shape == RGB.shape
    assert [path.name for path in target.parent.iterdir()] == ["a.png"]
    (tmp_path / "plain").write_bytes(b"")
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(pixels=RGB)
    (tmp_path / "a.png").mkdir()
    with pytest.raises(PictureError, match="cannot be written"):
        write(picture, tmp_path / "a.png")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PictureError, match="cannot be written"):
        write(picture, tmp_path / "file" / "a.png")
    with pytest.raises(PictureError, match="holds none"):
        write(Picture(pixels=np.dstack([RGB, RGB[..., 0]])), tmp_path / "b.jpg")

    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(picture, tmp_path / "c.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "file"]
