"""Transparent pixels take their visible neighbours' colours, so that edges get no fringe."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import IdentityEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from picture_files import RGB

from hat_deploy import Upscaler
from hat_deploy.images import Pixels, bleed
from hat_deploy.tiles.enlargement import gather


def disc(hidden: int) -> Pixels:
    """A red disc on nothing; ``hidden`` is the colour that the nothing has."""
    rows, columns = np.mgrid[:32, :32]
    inside = (rows - 16) ** 2 + (columns - 16) ** 2 < 100
    picture = np.full((32, 32, 4), hidden, np.uint8)
    picture[inside] = (255, 0, 0, 255)
    picture[~inside, 3] = 0
    return picture


def seen_on_white(pixels: Pixels) -> Pixels:
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("hidden", [0, 128])
def test_an_enlarged_disc_has_a_fringe_without_and_none_with(hidden: int) -> None:
    """On white, the disc and its rim are red to white: the red sample is 255 throughout."""

    def darkest_red(picture: Pixels) -> float:
        large = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        return float(seen_on_white(large)[..., 0].min())

    assert darkest_red(disc(hidden)) < 235
    assert darkest_red(bleed(disc(hidden))) > 254.99


@given(
    pixels=hnp.arrays(
        np.uint16,
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4)),
        elements=st.integers(0, 3),
    )
)
@settings(max_examples=100, deadline=None)
def test_visible_pixels_and_alpha_stay_and_hidden_ones_take_a_visible_colour(
    pixels: Pixels,
) -> None:
    before = pixels.copy()
    filled = bleed(pixels)
    np.testing.assert_array_equal(pixels, before)
    visible = pixels[..., 3] > 0
    np.testing.assert_array_equal(filled[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(filled[visible], pixels[visible])
    if visible.any():
        seen = {tuple(colour) for colour in pixels[visible][:, :3].tolist()}
        assert {tuple(colour) for colour in filled[~visible][:, :3].tolist()} <= seen


def test_the_nearest_visible_pixel_decides() -> None:
    row = np.zeros((1, 7, 4), np.uint8)
    row[0, 0], row[0, 6] = (10, 20, 30, 1), (40, 50, 60, 255)
    assert bleed(row)[0, :, 0].tolist() == [10, 10, 10, bleed(row)[0, 3, 0], 40, 40, 40]


@pytest.mark.parametrize("alpha", [None, 0, 1, 255])
def test_where_there_is_nothing_to_do_nothing_is_copied(alpha: Any) -> None:
    pixels = RGB if alpha is None else np.dstack([RGB, np.full_like(RGB[..., 0], alpha)])
    assert bleed(pixels) is pixels
    assert bleed(RGB[..., 0]).ndim == 2


def test_large_pictures_are_filled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within reach of a block the nearest visible pixel decides, as if there were no blocks."""
    rows, columns = np.mgrid[:70, :90]
    pixels = np.dstack([rows, columns, rows ^ columns, np.zeros_like(rows)]).astype(np.uint8)
    pixels[::9, ::11, 3] = 255
    whole = bleed(pixels)
    monkeypatch.setattr(sys.modules["hat_deploy.images.alpha"], "_BLOCK", 16)
    monkeypatch.setattr(sys.modules["hat_deploy.images.alpha"], "_REACH", 12)
    np.testing.assert_array_equal(bleed(pixels), whole)


@pytest.mark.parametrize("consume", [False, True])
def test_what_is_far_from_anything_visible_takes_a_colour_all_the_same(
    consume: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["hat_deploy.images.alpha"], "_BLOCK", 8)
    monkeypatch.setattr(sys.modules["hat_deploy.images.alpha"], "_REACH", 4)
    pixels = np.zeros((50, 90, 4), np.uint16)
    pixels[3, 2] = (1, 2, 3, 65535)
    pixels[40, 85] = (4, 5, 6, 1)
    before = pixels.copy()
    filled = bleed(pixels, consume=consume)
    assert (filled is pixels) == consume
    assert consume or (pixels == before).all()
    np.testing.assert_array_equal(filled[..., 3], before[..., 3])
    assert {tuple(colour) for colour in filled[..., :3].reshape(-1, 3).tolist()} == {
        (1, 2, 3),
        (4, 5, 6),
    }
    assert filled[0, 0, 0] == 1 and filled[-1, -1, 0] == 4


def test_only_who_lets_an_upscaler_consume_pixels_gets_them_changed() -> None:
    """A run of a folder does; it spares a copy of each picture."""
    upscaler = Upscaler(IdentityEngine())
    pixels = disc(0)
    before = pixels.copy()
    kept = upscaler.upscale(pixels)
    np.testing.assert_array_equal(pixels, before)
    work = upscaler.enlargement(pixels, consume=True)
    for piece in work.pieces():
        work.accept(piece, upscaler.engine.run(gather([piece], upscaler.engine.input))[0])
    np.testing.assert_array_equal(work.result, kept)
    np.testing.assert_array_equal(pixels, bleed(before))
