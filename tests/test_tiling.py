from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import IdentityEngine, NaNEngine
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network, tiny_config

from hat_deploy import tiling
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import CheckFailed
from hat_deploy.metrics import compare


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    batch=st.integers(1, 5),
    halo=st.sampled_from([0, 2, 4, 6]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_an_identity_engine_gives_the_picture_enlarged(
    height: int, width: int, batch: int, halo: int, dtype: type
) -> None:
    engine = IdentityEngine((16, 16), batch=batch)
    pixels = noise(height, width, dtype=dtype)
    result = tiling.upscale(pixels, engine, halo=halo)
    assert result.dtype == dtype
    assert np.array_equal(result, pixels.repeat(2, 0).repeat(2, 1))


def test_a_byte_engine_gives_the_same() -> None:
    pixels = noise(37, 22)
    result = tiling.upscale(pixels, IdentityEngine((16, 8), layout="NHWC", batch=3), halo=2)
    assert np.array_equal(result, pixels.repeat(2, 0).repeat(2, 1))


def test_batches_are_full_but_the_last() -> None:
    engine = IdentityEngine((16, 16), batch=4)
    seen: list[int] = []
    tiling.upscale(noise(40, 40), engine, halo=2, on_batch=seen.append)
    assert seen == [4, 4, 1]
    assert engine.calls == 3


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(CheckFailed, match="not finite"):
        tiling.upscale(noise(8, 8), NaNEngine(), halo=0)


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        tiling.upscale(noise(8, 8, 1), IdentityEngine(), halo=0)


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
        layout = tiling.plan(engine, self.SIZE, halo)
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
