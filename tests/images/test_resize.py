"""Bicubic resizing against hand-computed values and PyTorch's antialiased bicubic."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from hat_deploy.images.resize import bicubic, round_to_uint8, shrink

HALVING = np.array([0.43359375, 0.11328125, -0.03515625, -0.01171875])
"""Keys' kernel, a = -0.5, twice as wide, at 0.5, 1.5, 2.5 and 3.5 samples; half of its sum of 2.

By hand: k(1/4) = 1.5/64 - 2.5/16 + 1 = 0.8671875; k(3/4) = 0.2265625;
k(5/4) = -0.0703125; k(7/4) = -0.0234375.
"""


def independent(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """PyTorch's antialiased bicubic: the same kernel, but borders cut off instead of mirrored."""
    x = torch.from_numpy(np.atleast_3d(picture)).permute(2, 0, 1)[None].double()
    y = torch.nn.functional.interpolate(
        x, (height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return y[0].permute(1, 2, 0).numpy().reshape(height, width, *picture.shape[2:])


def photo() -> np.ndarray:
    return load_sample_image("flower.jpg")[:384, :480].copy()


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("colour", [True, False])
def test_shrinks_as_pytorch_does_inside(factor: int, colour: bool) -> None:
    picture = photo() if colour else photo()[..., 1]
    size = (384 // factor, 480 // factor)
    ours, theirs = bicubic(picture, *size), independent(picture, *size)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours[3:-3, 3:-3], theirs[3:-3, 3:-3], atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(200, 300), (500, 480), (300, 900)])
def test_resizes_by_other_factors_as_pytorch_does_inside(height: int, width: int) -> None:
    picture = photo()
    ours, theirs = bicubic(picture, height, width), independent(picture, height, width)
    np.testing.assert_allclose(ours[6:-6, 6:-6], theirs[6:-6, 6:-6], atol=1e-9)


def test_halving_an_impulse_by_hand() -> None:
    row = np.zeros((1, 12))
    row[0, 4] = 1
    near, second, third, fourth = HALVING
    expected = [[fourth, second, near, third, 0, 0]]
    np.testing.assert_allclose(bicubic(row, 1, 6), expected, atol=1e-15)
    np.testing.assert_allclose(bicubic(row.T, 6, 1), np.transpose(expected), atol=1e-15)


def test_the_border_is_mirrored_with_its_edge_sample_repeated() -> None:
    row = np.zeros((1, 12))
    row[0, 0] = 1
    near, second, third, fourth = HALVING
    expected = [[near + second, third + fourth, 0, 0, 0, 0]]
    np.testing.assert_allclose(bicubic(row, 1, 6), expected, atol=1e-15)
    np.testing.assert_allclose(bicubic(row[:, ::-1], 1, 6), np.flip(expected), atol=1e-15)


def test_enlarging_an_impulse_by_hand() -> None:
    """Samples lie 1/4, 3/4, 5/4 and 7/4 away; the kernel is not widened when enlarging."""
    row = np.zeros((1, 7))
    row[0, 3] = 1
    rising = [0, 0, 0, -0.0234375, -0.0703125, 0.2265625, 0.8671875]
    np.testing.assert_allclose(bicubic(row, 1, 14), [rising + rising[::-1]], atol=1e-15)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 16), (31, 70)])
def test_constants_stay(size: tuple[int, int]) -> None:
    flat = np.full((16, 16, 3), 77, np.uint8)
    result = bicubic(flat, *size)
    assert result.shape == (*size, 3)
    np.testing.assert_allclose(result, 77, atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 14), (9, 14, 1), (9, 14, 3), (1, 1)])
def test_the_same_size_is_the_identity(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    result = bicubic(picture, *shape[:2])
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, picture)


def test_each_channel_on_its_own() -> None:
    picture = photo()
    together = bicubic(picture, 96, 120)
    for channel in range(3):
        alone = bicubic(picture[..., channel], 96, 120)
        np.testing.assert_allclose(together[..., channel], alone, atol=1e-12)


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4)])
def test_refuses_an_empty_result(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot resize"):
        bicubic(np.zeros((4, 4)), *size)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0, 3), (4,), (1, 4, 4, 3)])
def test_refuses_what_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        bicubic(np.zeros(shape), 2, 2)


def test_rounds_half_up_and_clips() -> None:
    values = np.array([-3.0, -0.5, 0.49, 0.5, 1.5, 2.5, 254.5, 255.4, 300.0])
    expected = np.array([0, 0, 0, 1, 2, 3, 255, 255, 255], np.uint8)
    result = round_to_uint8(values)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("size", [(100, 150), (300, 401), (384, 480), (1, 1), (130, 480)])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_shrinking_by_stripes_is_the_same(size: tuple[int, int], channels: int | None) -> None:
    colour = photo()
    picture = colour[..., 0] if channels is None else np.dstack([colour, colour])[..., :channels]
    found = np.empty((*size, *picture.shape[2:]), np.uint8)
    shrink(picture, found)
    expected = np.clip(bicubic(picture, *size), 0, 255)
    assert np.abs(found - expected).max() <= 0.501


def test_linear_light_averages_light() -> None:
    """A fine pattern of black and white keeps its brightness: half of the light is 188 in sRGB."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    board = np.dstack([board, board, board, board])
    found = np.empty((16, 16, 4), np.uint8)
    shrink(board, found, linear=True)
    assert set(np.unique(found[4:-4, 4:-4, :3])) == {188}
    assert set(np.unique(found[4:-4, 4:-4, 3])) <= {127, 128}  # alpha is no light


def test_linear_light_keeps_what_is_flat() -> None:
    for value in range(0, 65536, 997):
        flat = np.full((8, 8), value, np.uint16)
        found = np.empty((3, 5), np.uint16)
        shrink(flat, found, linear=True)
        assert np.abs(found.astype(int) - value).max() <= 1


def test_shrinking_takes_little_memory_beside_the_arrays() -> None:
    source, target = np.zeros((3000, 2000, 3), np.uint8), np.zeros((2000, 1333, 3), np.uint8)
    tracemalloc.start()
    try:
        shrink(source, target)
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()
