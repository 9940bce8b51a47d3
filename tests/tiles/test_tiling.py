from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import IdentityEngine, NaNEngine
from hypothesis import given
from hypothesis import strategies as st
from tiny import random_network, tiny_config

from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import CheckFailed
from hat_deploy.metrics import compare
from hat_deploy.tiles import tiling


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    halo=st.sampled_from([0, 2, 4, 6]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    layout=st.sampled_from(["NCHW", "NHWC"]),
)
def test_tiles_cut_and_put_back_are_the_picture(
    height: int, width: int, halo: int, dtype: type, layout: str
) -> None:
    if layout == "NHWC":
        dtype = np.uint8
    engine = IdentityEngine((20, 16), layout=layout)
    pixels = noise(height, width, dtype=dtype)
    result = np.zeros((2 * height, 2 * width, 3), dtype)
    for tile in tiling.grid_for(engine, (height, width), halo).tiles:
        value = engine.run(tiling.gather(pixels, [tile], engine.input))[0]
        _, place = tiling.placement(tile, 2)
        tiling.finish(value, tile, 2, engine.output, result[place])
    assert np.array_equal(result, pixels.repeat(2, 0).repeat(2, 1))


def test_a_batch_that_is_not_full_repeats_its_last_tile() -> None:
    engine = IdentityEngine((16, 16), batch=3)
    pixels = noise(40, 40)
    first, second, *_ = tiling.grid_for(engine, (40, 40), 2).tiles
    batch = tiling.gather(pixels, [first, second], engine.input)
    assert np.array_equal(batch[1], batch[2])
    assert not np.array_equal(batch[0], batch[1])


def test_tiles_inside_and_at_the_edge_are_cut_alike() -> None:
    engine = IdentityEngine((8, 8))
    (tile,) = tiling.grid_for(engine, (8, 8), 0).tiles
    pixels = noise(8, 8)
    inside = tiling.gather(noise(8, 8), [tile], engine.input)
    at_the_edge = tiling.gather(pixels[:7, :7], [tile], engine.input)
    assert np.array_equal(inside[0, :, :7, :7], at_the_edge[0, :, :7, :7])
    assert np.array_equal(at_the_edge[0, :, 7, :7], inside[0, :, 5, :7])  # reflected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("values", [(np.nan,), (np.inf,), (-np.inf,), (np.inf, -np.inf)])
def test_one_value_that_is_not_finite_is_found(values: tuple[float, ...], dtype: type) -> None:
    engine = IdentityEngine((80, 80))
    (tile,) = tiling.grid_for(engine, (80, 80), 0).tiles
    out = np.empty((160, 160, 3), dtype)
    for row in (0, 63, 64, 159):
        value = np.full((3, 160, 160), 3e38, np.float32)  # a sum of these is beyond fp32
        tiling.finish(value, tile, 2, engine.output, out)
        value[1, row, -len(values) :] = values
        with pytest.raises(CheckFailed, match="not finite"):
            tiling.finish(value, tile, 2, engine.output, out)


def test_values_that_are_not_finite_are_refused() -> None:
    engine = NaNEngine((8, 8))
    (tile,) = tiling.grid_for(engine, (8, 8), 0).tiles
    value = engine.run(tiling.gather(noise(8, 8), [tile], engine.input))[0]
    with pytest.raises(CheckFailed, match="not finite"):
        tiling.finish(value, tile, 2, engine.output, np.empty((16, 16, 3), np.uint8))


class TestAgainstTheWholePicture:
    """Windows of 4, one group of two blocks and OCAB: the receptive field is known."""

    SIZE = (44, 52)
    HALO = 24

    def difference(self, halo: int, **changes: object) -> float:
        network = random_network(tiny_config(depths=(2,), **changes))
        pixels = noise(*self.SIZE)
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            whole = network(x)[0].numpy()
        engine = TorchEngine(network, tile=(2 * halo + 4, 2 * halo + 8))
        result = np.zeros_like(whole)
        layout = tiling.grid_for(engine, self.SIZE, halo)
        assert len(layout.tiles) > 4 or halo > 10
        for tile in layout.tiles:
            value = engine.run(tiling.gather(pixels, [tile], engine.input))[0]
            rows, columns = tile.rows, tile.columns
            result[
                :,
                2 * rows.keep.start : 2 * rows.keep.stop,
                2 * columns.keep.start : 2 * columns.keep.stop,
            ] = value[
                :,
                2 * (rows.keep.start - rows.start) : 2 * (rows.keep.stop - rows.start),
                2 * (columns.keep.start - columns.start) : 2 * (columns.keep.stop - columns.start),
            ]
        return compare(whole, result).max_abs

    def test_without_channel_attention_a_wide_halo_makes_tiles_exact(self) -> None:
        # Border pixels of the padded picture see padding, not context: sizes are multiples.
        assert self.difference(20, channel_attention=False) <= 1e-5

    def test_a_narrow_halo_is_seen(self) -> None:
        assert self.difference(2, channel_attention=False) > 1e-4

    def test_channel_attention_averages_over_a_tile(self) -> None:
        assert self.difference(20, conv_scale=1.0) > 1e-5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_are_rounded_half_to_even_whatever_the_size(dtype: type, channels: int) -> None:
    engine = IdentityEngine((80, 80), channels=channels)
    top = np.iinfo(dtype).max
    rng = np.random.default_rng(0)
    # Halves, exact values, and some beyond the range.
    steps = rng.integers(-20, 2 * top + 20, (channels, 160, 160))
    value = (steps / (2 * top)).astype(np.float32)
    value[:, 40:44] *= np.float32(1e37)  # finite, and not once it is multiplied
    tile = tiling.grid_for(engine, (80, 96), 16).tiles[1]
    rows, columns = tiling.placement(tile, 2)[0]
    kept = value[:, rows, columns].transpose(1, 2, 0)
    # Into a view of something wider, as an image with alpha is.
    found = np.zeros((*kept.shape[:2], channels + 1), dtype)[..., :channels]
    tiling.finish(value, tile, 2, engine.output, found)
    expected = np.rint(np.clip(kept, 0, 1) * np.float32(top)).astype(dtype)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_sample_is_divided_as_in_fp64(dtype: type) -> None:
    top = np.iinfo(dtype).max
    pixels = np.arange(top + 1, dtype=dtype).reshape(-1, 16, 1).repeat(3, 2)
    engine = IdentityEngine((16, 16))
    tiles = tiling.grid_for(engine, (16, 16), 0).tiles
    for first in range(0, len(pixels), 16):
        batch = tiling.gather(pixels[first : first + 16], tiles, engine.input)
        wanted = (pixels[first : first + 16].astype(np.float64) / top).astype(np.float32)
        assert np.array_equal(batch[0], wanted.transpose(2, 0, 1))
