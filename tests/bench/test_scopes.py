from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import IdentityEngine
from tiny import tiny_config

from hat_deploy import images
from hat_deploy.bench.contenders import Contender
from hat_deploy.bench.scopes import (
    Entrant,
    Scope,
    TimedImage,
    make_sample,
    prepare,
    read_sample,
    work,
)
from hat_deploy.engines.base import Engine
from hat_deploy.errors import UsageError
from hat_deploy.networks.hat.cost import cost


class Pretender(Contender):
    """A contender whose engine copies pixels."""

    def open(self, threads: int) -> Engine:
        return IdentityEngine(
            self.tile, batch=self.batch, scale=2, window=4, channels=self.config.in_channels
        )


def pretender(**changes: object) -> Pretender:
    values: dict[str, object] = {
        "label": "copy",
        "config": tiny_config(),
        "tile": (16, 24),
        "batch": 1,
        "halo": 4,
        "precision": "fp32",
        "device": "cpu",
        "file": None,
    }
    return Pretender(**values | changes)


def entrant(contender: Contender) -> Entrant:
    return Entrant(contender=contender, engine=contender.open(1))


@pytest.mark.parametrize("batch", [1, 3])
def test_the_generated_picture_is_a_row_of_whole_tiles(tmp_path: Path, batch: int) -> None:
    contender = pretender(batch=batch)
    sample = make_sample(contender, tmp_path)
    tiles = max(2, batch)
    assert sample.pixels.shape == (16, 24 + (tiles - 1) * 16, 3)
    assert work(Scope.TILES, contender, sample.pixels.shape[:2]).tiles == tiles
    assert np.array_equal(images.decode(sample.path).pixels, sample.pixels)


def test_the_picture_is_a_real_one(tmp_path: Path) -> None:
    pixels = make_sample(pretender(), tmp_path).pixels.astype(float)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    neighbours = np.corrcoef(pixels[:, 1:].ravel(), pixels[:, :-1].ravel())[0, 1]
    assert 0.8 < neighbours < 1


@pytest.mark.parametrize("scope", list(Scope))
def test_a_call_of_each_scope_runs_the_engine(tmp_path: Path, scope: Scope) -> None:
    opened = entrant(pretender(batch=2))
    sample = make_sample(opened.contender, tmp_path)
    call, does = prepare(scope, opened, sample, tmp_path)
    assert opened.engine.calls == 0
    call()
    call()
    assert opened.engine.calls == 2
    assert does.tiles == 2


def test_the_engine_call_is_made_on_tiles_of_the_picture(tmp_path: Path) -> None:
    opened = entrant(pretender())
    sample = make_sample(opened.contender, tmp_path)
    call, _ = prepare(Scope.CALL, opened, sample, tmp_path)
    first = call()[0, :, ::2, ::2].transpose(1, 2, 0) * 255
    assert np.array_equal(np.rint(first).astype(np.uint8), sample.pixels[:16, :24])


def test_file_to_file_writes_the_enlarged_picture(tmp_path: Path) -> None:
    opened = entrant(pretender())
    sample = make_sample(opened.contender, tmp_path)
    call, _ = prepare(Scope.FILE, opened, sample, tmp_path)
    call()
    written = images.decode(tmp_path / "copy.png").pixels
    assert np.array_equal(written[::2, ::2], sample.pixels)


def test_work_of_an_engine_call_is_that_of_whole_tiles() -> None:
    contender = pretender(batch=3)
    does = work(Scope.CALL, contender, (100, 100))
    assert (does.tiles, does.pixels) == (3, 3 * 16 * 24)
    assert does.multi_adds == 3 * cost(contender.config, 16, 24).multi_adds


def test_work_of_a_picture_counts_what_fills_the_last_batch() -> None:
    # 16x56 holds three tiles of 16x24 that overlap by 8: two batches of two.
    does = work(Scope.TILES, pretender(batch=2), (16, 56))
    assert (does.tiles, does.pixels) == (3, 16 * 56)
    assert does.multi_adds == 4 * cost(tiny_config(), 16, 24).multi_adds


def test_a_gray_network_passes_three_times_over_a_colour_picture(tmp_path: Path) -> None:
    opened = entrant(pretender(config=tiny_config(in_channels=1)))
    sample = make_sample(opened.contender, tmp_path)
    call, does = prepare(Scope.TILES, opened, sample, tmp_path)
    call()
    assert opened.engine.calls == does.tiles == 6


def test_a_picture_of_the_user_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    pixels = make_sample(pretender(tile=(8, 16)), tmp_path).pixels
    images.write(images.Picture(pixels=pixels), path)
    sample = read_sample(path)
    assert isinstance(sample, TimedImage)
    assert np.array_equal(sample.pixels, pixels)
    gray = replace(images.decode(path), pixels=pixels[..., 0])
    images.write(gray, path)
    with pytest.raises(UsageError, match="RGB without alpha"):
        read_sample(path)
