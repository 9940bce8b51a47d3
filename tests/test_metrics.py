"""Metrics against scikit-image on real pictures, and against values computed by hand."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.color
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_sample_image

from hat_deploy.images.resize import bicubic, round_to_uint8
from hat_deploy.metrics import Difference, compare, luma, psnr_y, ssim_y

PICTURES = {
    "china": lambda: load_sample_image("china.jpg"),
    "flower": lambda: load_sample_image("flower.jpg"),
    "astronaut": skimage.data.astronaut,
    "chelsea": skimage.data.chelsea,
    "camera": skimage.data.camera,
}


def original_and_degraded(name: str, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture, and the same one shrunk and enlarged again."""
    picture = PICTURES[name]()
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    small = round_to_uint8(bicubic(picture, height, width))
    return picture, round_to_uint8(bicubic(small, *picture.shape[:2]))


def independent_y(picture: np.ndarray) -> np.ndarray:
    rgb = picture if picture.ndim == 3 else skimage.color.gray2rgb(picture)
    return skimage.color.rgb2ycbcr(rgb)[..., 0]


def cropped(y: np.ndarray, border: int) -> np.ndarray:
    return y[border : y.shape[0] - border, border : y.shape[1] - border]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        # Studio swing of BT.601: black 16, white 235, the primaries as in the recommendation.
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_the_primaries(colour: tuple[int, int, int], expected: float) -> None:
    y = luma(np.full((2, 3, 3), colour, np.uint8))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, np.full((2, 3), expected), atol=1e-12)


def test_luma_agrees_with_scikit_image() -> None:
    picture = PICTURES["china"]()
    np.testing.assert_allclose(luma(picture), independent_y(picture), atol=1e-9)


@pytest.mark.parametrize(("name", "factor"), [(n, f) for n in PICTURES for f in (2, 4)])
def test_agrees_with_scikit_image(name: str, factor: int) -> None:
    a, b = original_and_degraded(name, factor)
    y_a, y_b = cropped(independent_y(a), factor), cropped(independent_y(b), factor)
    psnr = peak_signal_noise_ratio(y_a, y_b, data_range=255)
    ssim = structural_similarity(
        y_a,
        y_b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert psnr_y(a, b, border=factor) == pytest.approx(psnr, abs=1e-3)
    assert ssim_y(a, b, border=factor) == pytest.approx(ssim, abs=1e-4)


def test_psnr_by_hand() -> None:
    """One of 16 pixels off by 8: mean square 4, and of Y, which spans 219 of 255, less."""
    a = np.full((4, 4), 100, np.uint8)
    b = a.copy()
    b[1, 2] = 108
    mean_square = 4 * (219 / 255) ** 2
    assert psnr_y(a, b, border=0) == pytest.approx(10 * math.log10(255**2 / mean_square), abs=1e-9)
    assert psnr_y(a, b, border=1) == pytest.approx(
        10 * math.log10(255**2 / mean_square / 4), abs=1e-9
    )


def test_ssim_of_flat_pictures_by_hand() -> None:
    """Without variance only the means count: (2ab + C1) / (a^2 + b^2 + C1)."""
    a, b = np.full((11, 11), 100, np.uint8), np.full((11, 11), 120, np.uint8)
    c1 = 2.55**2
    y_a, y_b = (16 + gray * (65.481 + 128.553 + 24.966) / 255 for gray in (100, 120))
    expected = (2 * y_a * y_b + c1) / (y_a**2 + y_b**2 + c1)
    assert ssim_y(a, b, border=0) == pytest.approx(expected, abs=1e-9)


def test_equal_pictures() -> None:
    picture = PICTURES["astronaut"]()
    assert psnr_y(picture, picture.copy(), border=4) == math.inf
    assert ssim_y(picture, picture.copy(), border=4) == pytest.approx(1.0, abs=1e-12)


def test_gray_counts_as_three_equal_channels() -> None:
    """Y of a gray g is 16 + g (65.481 + 128.553 + 24.966) / 255, by hand."""
    a, b = original_and_degraded("camera", 2)
    assert psnr_y(a[..., None], b[..., None], border=2) == psnr_y(a, b, border=2)
    y_a, y_b = (16 + x[2:-2, 2:-2] * ((65.481 + 128.553 + 24.966) / 255) for x in (a, b))
    assert psnr_y(a, b, border=2) == pytest.approx(
        10 * math.log10(255**2 / np.mean((y_a - y_b) ** 2)), abs=1e-9
    )
    for metric in (psnr_y, ssim_y):
        rgb = (x[..., None].repeat(3, axis=2) for x in (a, b))
        assert metric(a, b, border=2) == metric(*rgb, border=2)


def test_what_lies_in_the_border_does_not_count() -> None:
    a, b = original_and_degraded("chelsea", 2)
    damaged = b.copy()
    damaged[:3], damaged[-3:], damaged[:, :3], damaged[:, -3:] = 0, 255, 7, 9
    for metric in (psnr_y, ssim_y):
        assert metric(a, damaged, border=3) == metric(a, b, border=3)
        assert metric(a, damaged, border=2) < metric(a, b, border=2)


def test_ssim_does_not_depend_on_how_many_rows_are_computed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = original_and_degraded("camera", 4)
    whole = ssim_y(a, b, border=4)
    monkeypatch.setattr("hat_deploy.metrics._BAND", 7)
    assert ssim_y(a, b, border=4) == pytest.approx(whole, abs=1e-12)


def test_ssim_of_a_large_picture_in_little_memory() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (1500, 2000), np.uint8) for _ in range(2))
    tracemalloc.start()
    ssim_y(a, b, border=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 8 * a.size  # two Y channels, and bands; ten maps would be 80 bytes a pixel


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
@pytest.mark.parametrize(
    ("a", "b", "border", "message"),
    [
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 15, 3), np.uint8), 0, "one shape"),
        (np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint16), 0, "one shape"),
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8), 0, "one shape"),
        (np.zeros((16, 16), np.uint16), np.zeros((16, 16), np.uint16), 0, "uint8"),
        (np.zeros((16, 16, 3)), np.zeros((16, 16, 3)), 0, "uint8"),
        (np.zeros((16, 16, 4), np.uint8), np.zeros((16, 16, 4), np.uint8), 0, "RGB"),
        (np.zeros((16,), np.uint8), np.zeros((16,), np.uint8), 0, "RGB"),
        (np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8), 8, "too small"),
        (np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8), -1, "negative"),
    ],
)
def test_refuses_what_cannot_be_scored(
    metric: Any, a: np.ndarray, b: np.ndarray, border: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(a, b, border=border)


def test_ssim_needs_a_whole_window() -> None:
    picture = np.zeros((12, 30), np.uint8)
    assert psnr_y(picture, picture, border=1) == math.inf
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim_y(picture, picture, border=1)


def test_compare_by_hand() -> None:
    reference = np.array([0.0, 0.4, 1.0, 0.25], np.float64)
    candidate = np.array([0.0, 0.4 + 1 / 255, 1.0 - 4 / 255, 0.25 + 0.001], np.float64)
    result = compare(reference, candidate)
    squares = ((1 / 255) ** 2 + (4 / 255) ** 2 + 0.001**2) / 4
    assert result.count == result.compared == 4
    assert result.max_abs == pytest.approx(4 / 255)
    assert result.mean_abs == pytest.approx((5 / 255 + 0.001) / 4)
    assert result.psnr == pytest.approx(-10 * math.log10(squares))
    shares = (result.share_equal, result.share_off_by_one, result.share_off_by_more)
    assert shares == (0.5, 0.25, 0.25)


def test_8_bit_shares_clip_first() -> None:
    result = compare(np.array([1.0, 0.0, -0.3]), np.array([1.5, -0.2, 0.003]))
    assert result.max_abs == 0.5
    assert (result.share_equal, result.share_off_by_one) == (2 / 3, 1 / 3)


def test_equal_arrays() -> None:
    array = np.random.default_rng(0).random((2, 3, 40, 50), np.float32)
    result = compare(array, array.copy())
    assert (result.max_abs, result.mean_abs, result.psnr) == (0.0, 0.0, math.inf)
    assert result.share_equal == 1.0
    assert result.meets(math.inf)


def test_non_finite_values_are_counted_and_left_out() -> None:
    reference = np.array([0.5, 0.5, np.nan, 0.5, np.inf], np.float32)
    candidate = np.array([0.6, np.nan, np.nan, np.inf, 0.5], np.float32)
    result = compare(reference, candidate)
    assert (result.count, result.compared) == (5, 1)
    assert (result.non_finite, result.reference_non_finite) == (3, 2)
    assert result.psnr == pytest.approx(20, abs=1e-5)
    assert result.max_abs == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("side", ["reference", "candidate"])
def test_one_non_finite_value_meets_no_floor(side: str) -> None:
    arrays = {"reference": np.full(1000, 0.5), "candidate": np.full(1000, 0.5)}
    arrays[side][17] = np.nan
    result = compare(**arrays)
    assert result.psnr == math.inf
    assert not result.meets(0.0)


def test_nothing_finite_meets_no_floor() -> None:
    result = compare(np.zeros(3), np.full(3, np.nan))
    assert all(math.isnan(x) for x in (result.psnr, result.max_abs, result.share_equal))
    assert not result.meets(-math.inf)


def test_meets_is_at_least() -> None:
    result = compare(np.zeros(4), np.full(4, 0.001))
    assert result.psnr == pytest.approx(60)
    assert result.meets(result.psnr)
    assert not result.meets(result.psnr + 1e-6)


def test_layouts_and_precisions_may_differ() -> None:
    rng = np.random.default_rng(0)
    reference = rng.random((2, 70, 90, 3), np.float32).transpose(0, 3, 1, 2)
    candidate = np.ascontiguousarray(reference).astype(np.float16)
    assert not reference.flags.c_contiguous
    error = candidate.astype(np.float64) - reference.astype(np.float64)
    result = compare(reference, candidate)
    assert result.max_abs == np.abs(error).max()
    assert result.mean_abs == pytest.approx(np.abs(error).mean(), rel=1e-12)
    assert result.psnr == pytest.approx(-10 * math.log10(np.mean(error**2)), abs=1e-9)


def test_compare_makes_no_copies() -> None:
    reference = np.random.default_rng(0).random((3, 1500, 1500), np.float32)
    candidate = reference * np.float32(0.999)
    tracemalloc.start()
    compare(reference, candidate)
    compare(reference.transpose(2, 0, 1), candidate.transpose(2, 0, 1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < reference.nbytes / 4


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 300), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_combining_parts_is_comparing_the_whole(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    pairs: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    for length in lengths:
        reference = rng.random(length)
        candidate = reference + rng.normal(0, 0.004, length)
        candidate[rng.random(length) < 0.02] = np.inf
        pairs.append((reference, candidate))
    whole = compare(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
    combined = Difference.combine(compare(*pair) for pair in pairs)
    for name, value in vars(whole).items():
        assert getattr(combined, name) == pytest.approx(value, rel=1e-12), name


def test_nothing_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Difference.combine([])


@pytest.mark.parametrize(
    ("reference", "candidate", "message"),
    [
        (np.zeros((1, 3)), np.zeros((3, 1)), "shape"),
        (np.zeros(3), np.zeros(1), "shape"),
        (np.zeros(3, np.uint8), np.zeros(3, np.uint8), "float"),
        (np.zeros(3), np.zeros(3, np.int64), "float"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "nothing"),
    ],
)
def test_compare_refuses(reference: np.ndarray, candidate: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(reference, candidate)


def test_reports_are_strict_json() -> None:
    equal = compare(np.zeros(2), np.zeros(2)).to_dict()
    assert equal["psnr"] is None
    assert equal["max_abs"] == 0.0
    damaged = compare(np.zeros(2), np.array([np.nan, 0.1])).to_dict()
    text = json.dumps(damaged, allow_nan=False)
    assert json.loads(text)["non_finite"] == 1
    assert json.loads(text)["psnr"] == pytest.approx(20)
