from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hat_deploy.errors import UsageError
from hat_deploy.geometry import (
    check_tile,
    default_halo,
    default_tile,
    fitted,
    grid,
    halos,
    reflect_indices,
    round_up,
    tile_count,
)


@given(length=st.integers(1, 40), padded=st.integers(1, 200))
def test_reflection_is_numpys(length: int, padded: int) -> None:
    padded = max(length, padded)
    expected = np.pad(np.arange(length), (0, padded - length), mode="reflect")
    assert reflect_indices(length, range(padded)) == expected.tolist()


def test_a_single_sample_is_repeated() -> None:
    assert reflect_indices(1, range(4)) == [0, 0, 0, 0]


def test_an_empty_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        reflect_indices(0, range(4))


def test_round_up() -> None:
    assert [round_up(n, 16) for n in (1, 16, 17)] == [16, 16, 32]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], int, int]:
    window = draw(st.sampled_from([2, 4, 8]))
    sides = st.integers(1, 6).map(lambda n: n * window)
    tile = (draw(sides), draw(sides))
    shared = sorted(set(halos(tile[0], window)) & set(halos(tile[1], window)))
    halo = draw(st.sampled_from(shared)) if shared else 0
    size = (draw(st.integers(1, 70)), draw(st.integers(1, 70)))
    return size, tile, halo, window


@given(layouts())
def test_every_pixel_is_kept_exactly_once(
    layout: tuple[tuple[int, int], tuple[int, int], int, int],
) -> None:
    size, tile, halo, window = layout
    count = np.zeros(size, int)
    for t in grid(size, tile, halo, window).tiles:
        count[t.rows.keep.start : t.rows.keep.stop, t.columns.keep.start : t.columns.keep.stop] += 1
    assert (count == 1).all()


@given(layouts())
def test_tiles_are_aligned_inside_and_keep_their_halo(
    layout: tuple[tuple[int, int], tuple[int, int], int, int],
) -> None:
    size, tile, halo, window = layout
    laid = grid(size, tile, halo, window)
    for t in laid.tiles:
        for span, side, padded in (
            (t.rows, tile[0], laid.height),
            (t.columns, tile[1], laid.width),
        ):
            assert span.start % window == 0
            assert 0 <= span.start <= padded - side
            assert len(span.keep) > 0
            before = span.keep.start - span.start
            after = span.start + side - span.keep.stop
            assert before >= halo or span.start == 0
            assert after >= halo or span.start + side == padded


@given(layouts())
def test_tiles_are_counted_as_they_are_laid(
    layout: tuple[tuple[int, int], tuple[int, int], int, int],
) -> None:
    size, tile, halo, window = layout
    laid = grid(size, tile, halo, window)
    assert tile_count(size, tile, halo) == len(laid.tiles)


def test_a_side_that_one_tile_covers_needs_no_halo() -> None:
    laid = grid((100, 20), (64, 32), 16, 16)
    assert [(t.rows.start, t.rows.keep) for t in laid.tiles] == [
        (0, range(48)),
        (32, range(48, 80)),
        (48, range(80, 100)),
    ]
    with pytest.raises(UsageError, match="halo 16"):
        grid((100, 33), (64, 32), 16, 16)


def test_a_tile_is_no_larger_than_the_image_padded_to_the_window() -> None:
    assert fitted((213, 250), (256, 256), 16, 16) == (224, 256)
    assert fitted((1, 16), (256, 256), 16, 16) == (16, 16)
    assert fitted((1, 16), (16, 16), 0, 16) == (16, 16)


def test_an_image_is_cut_into_equal_tiles() -> None:
    # 1888 = 4 steps of 472, and 1048 = 3 of 350, each up to a multiple of 16.
    assert fitted((1080, 1920), (512, 512), 16, 16) == (352 + 32, 480 + 32)
    assert fitted((213, 320), (256, 256), 16, 16) == (224, 144 + 32)
    assert fitted((257, 4000), (256, 256), 0, 16) == (144, 256)


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    tile=st.tuples(st.integers(4, 40), st.integers(4, 40)),
    halves=st.integers(0, 3),
)
def test_equal_tiles_are_as_many_as_whole_ones(
    size: tuple[int, int], tile: tuple[int, int], halves: int
) -> None:
    window, halo = 16, 8 * halves
    tile = (window * tile[0], window * tile[1])
    equal = fitted(size, tile, halo, window)
    assert all(own <= side and own % window == 0 for own, side in zip(equal, tile, strict=True))
    assert len(grid(size, equal, halo, window).tiles) == len(grid(size, tile, halo, window).tiles)


def test_grid_written_by_hand() -> None:
    laid = grid((100, 20), (64, 32), 8, 16)
    assert (laid.height, laid.width) == (112, 32)
    rows = [(t.rows.start, t.rows.keep) for t in laid.tiles]
    assert rows == [(0, range(56)), (48, range(56, 100))]
    assert {(t.columns.start, t.columns.keep) for t in laid.tiles} == {(0, range(20))}


def test_the_last_tile_is_flush_with_the_padded_edge() -> None:
    starts = [t.columns.start for t in grid((64, 150), (64, 64), 16, 16).tiles]
    assert starts == [0, 32, 64, 96]
    assert grid((64, 150), (64, 64), 16, 16).width == 160


@pytest.mark.parametrize(
    ("tile", "halo", "says"),
    [
        ((60, 64), 0, "60 is not a multiple.*use 64"),
        ((0, 64), 0, "use 16"),
        ((64, 64), 10, "halo 10.*fitting halos: 0, 8, 16, 24"),
        ((64, 64), 32, "halo 32"),
        ((64, 64), -8, "halo -8"),
    ],
)
def test_what_does_not_fit_is_refused(tile: tuple[int, int], halo: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_tile(tile, halo, 16)


@pytest.mark.parametrize(
    ("tile", "expected"), [((256, 256), 16), ((64, 64), 16), ((48, 112), 8), ((16, 16), 0)]
)
def test_default_halo_fits(tile: tuple[int, int], expected: int) -> None:
    assert default_halo(tile, 16) == expected
    check_tile(tile, expected, 16)


def test_exact_tiles_have_a_halo_of_two_windows_where_it_fits() -> None:
    sides = [(256, 256), (128, 192), (64, 64)]
    assert [default_halo(tile, 16, exact=True) for tile in sides] == [32, 32, 16]


@pytest.mark.parametrize(("window", "side"), [(4, 256), (7, 259), (8, 256), (12, 264), (16, 256)])
def test_the_default_tile_fits_the_window(window: int, side: int) -> None:
    tile = default_tile(window)
    assert tile == (side, side)
    check_tile(tile, default_halo(tile, window), window)
