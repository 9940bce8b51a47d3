"""Sizes of results: what they come to, and how an image gets there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fakes import IdentityEngine

from hat_deploy import TargetSize, Upscaler
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.images.resize import bicubic
from hat_deploy.tiles.target_size import steps_to


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"width": 300}, (200, 300)),
        ({"height": 50}, (50, 75)),
        ({"longest": 75}, (50, 75)),
        ({"scale": 1.5}, (150, 225)),
        ({"scale": 0.5}, (50, 75)),
        ({"width": 300, "height": 100}, (100, 150)),
        ({"width": 30, "height": 100}, (20, 30)),
        ({"megapixels": 0.06}, (200, 300)),
        ({"scale": 1e-9}, (1, 1)),
        ({"scale": 1.003}, (100, 150)),
        ({"scale": 1.005}, (100, 151)),  # 150.75
    ],
)
def test_the_shape_is_kept(asked: dict[str, Any], expected: tuple[int, int]) -> None:
    assert TargetSize(**asked).of(100, 150) == expected


@pytest.mark.parametrize("size", [(1, 1), (999, 1001), (1080, 1920), (7, 100_000)])
def test_megapixels_are_a_limit(size: tuple[int, int]) -> None:
    height, width = TargetSize(megapixels=2).of(*size)
    assert height * width <= 2_000_000


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"width": 1, "scale": 2.0},
        {"longest": 5, "height": 5},
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": float("nan")},
        {"megapixels": float("inf")},
        {"width": 0},
    ],
)
def test_what_is_no_size_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TargetSize(**asked)


@pytest.mark.parametrize(
    ("asked", "scale", "passes"),
    [
        (None, 2, 1),
        (None, 1, 1),
        (TargetSize(scale=1.01), 2, 1),
        (TargetSize(scale=2), 2, 1),
        (TargetSize(scale=2.01), 2, 2),
        (TargetSize(scale=2), 4, 1),
        (TargetSize(scale=16), 4, 2),
        (TargetSize(scale=1), 2, 0),
        (TargetSize(scale=0.3), 4, 0),
        (TargetSize(scale=0.5), 1, 1),
    ],
)
def test_passes_are_as_few_as_reach_it(asked: TargetSize | None, scale: int, passes: int) -> None:
    assert steps_to(asked, (300, 200), scale).passes == passes


def photo(shape: tuple[int, ...] = (23, 31, 3), dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize("scale", [2, 4])
def test_2x_by_any_network_has_the_size_of_2x(scale: int) -> None:
    with Upscaler(IdentityEngine(scale=scale)) as upscaler:
        assert upscaler.upscale(photo(), size=TargetSize(scale=2)).shape == (46, 62, 3)


@pytest.mark.parametrize("shape", [(23, 31), (23, 31, 3), (23, 31, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_too_large_is_shrunk(shape: tuple[int, ...], dtype: type) -> None:
    pixels = photo(shape, dtype)
    with Upscaler(IdentityEngine()) as upscaler:
        whole = upscaler.upscale(pixels)
        found = upscaler.upscale(pixels, size=TargetSize(width=40))
    expected = bicubic(whole, 30, 40)
    limit = np.iinfo(dtype).max
    assert found.dtype == dtype
    off = np.abs(found.astype(float) - np.clip(expected, 0, limit))
    assert off.max() <= 0.51 if dtype == np.uint8 else off.max() <= 1


def test_two_passes_are_one_after_the_other() -> None:
    engine = IdentityEngine()
    with Upscaler(engine) as upscaler:
        twice = upscaler.upscale(upscaler.upscale(photo()))
        np.testing.assert_array_equal(upscaler.upscale(photo(), size=TargetSize(scale=4)), twice)


def test_where_nothing_is_enlarged_the_network_does_not_run() -> None:
    engine, pixels = IdentityEngine(), photo()
    with Upscaler(engine) as upscaler:
        same = upscaler.upscale(pixels, size=TargetSize(scale=1))
        assert upscaler.upscale(pixels, size=TargetSize(longest=10)).shape == (7, 10, 3)
    np.testing.assert_array_equal(same, pixels)
    assert same is not pixels and engine.calls == 0


def test_a_network_that_does_not_enlarge_says_so() -> None:
    with Upscaler(IdentityEngine(scale=1)) as upscaler:
        assert upscaler.upscale(photo(), size=TargetSize(scale=0.5)).shape == (12, 16, 3)
        with pytest.raises(PictureError, match="31x23 pixels, and 47x35 were asked for"):
            upscaler.upscale(photo(), size=TargetSize(scale=1.5))
