"""PNG's gamma and chromaticities as a profile, which another colour engine understands."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from picture_files import RGB, SRGB, chunk, saved
from PIL import Image, ImageCms

from hat_deploy.images import decode_bytes, encode

P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def with_colour(gamma: float, places: tuple[float, ...] | None, *more: bytes) -> bytes:
    plain = saved(RGB, "PNG")
    chunks = [chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))]
    if places:
        chunks.append(chunk(b"cHRM", struct.pack(">8I", *(round(p * 100_000) for p in places))))
    return plain[:33] + b"".join([*chunks, *more]) + plain[33:]


def in_srgb(sample: tuple[int, int, int], profile: bytes) -> tuple[int, ...]:
    """What LittleCMS makes of one pixel."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    image = Image.new("RGB", (1, 1), sample)
    result = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"))
    return tuple(result.getpixel((0, 0)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_linear_light_becomes_a_profile_in_every_format(suffix: str) -> None:
    picture = decode_bytes(with_colour(1.0, None))
    assert picture.metadata.icc is not None and picture.notes == ()
    profile = Image.open(io.BytesIO(encode(picture, suffix))).info["icc_profile"]
    # 18 % of light is 118 of 255 in sRGB.
    assert in_srgb((46, 46, 46), profile) == pytest.approx((118, 118, 118), abs=1)
    assert in_srgb((255, 255, 255), profile) == (255, 255, 255)


def test_primaries_are_placed_and_adapted() -> None:
    icc = decode_bytes(with_colour(1 / 2.2, P3)).metadata.icc
    assert icc is not None
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    for place, expected in zip(
        (profile.red_primary, profile.green_primary, profile.blue_primary),
        ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
        strict=True,
    ):
        assert place[0] == pytest.approx(expected, abs=2e-3)  # Display P3's published columns
    assert in_srgb((255, 255, 255), icc) == (255, 255, 255)


@pytest.mark.parametrize(
    "data",
    [
        with_colour(0.45455, None),
        with_colour(0.45455, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)),
        with_colour(1.0, None, chunk(b"sRGB", b"\0")),
        with_colour(0.0, None),
        with_colour(1.0, (0.3127, 0.0, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)),
        with_colour(1.0, (0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)),
        with_colour(1.0, (21_000.0,) * 8),
    ],
    ids=["usual gamma", "usual colours", "sRGB", "none", "no white", "one colour", "absurd"],
)
def test_what_is_srgb_or_nonsense_gets_no_profile(data: bytes) -> None:
    assert decode_bytes(data).metadata.icc is None


def test_a_profile_goes_before_gamma() -> None:
    plain = saved(RGB, "PNG", icc_profile=SRGB)
    data = plain[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + plain[33:]
    assert decode_bytes(data).metadata.icc == SRGB


def test_gray_gets_a_gray_profile() -> None:
    plain = saved(RGB[..., 0], "PNG")
    picture = decode_bytes(plain[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + plain[33:])
    assert picture.metadata.icc is not None and picture.metadata.icc[16:20] == b"GRAY"
    source = ImageCms.ImageCmsProfile(io.BytesIO(picture.metadata.icc))
    image = Image.fromarray(np.full((1, 1), 46, np.uint8))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "L", "RGB")
    assert ImageCms.applyTransform(image, transform).getpixel((0, 0)) == pytest.approx(
        (118, 118, 118), abs=1
    )
