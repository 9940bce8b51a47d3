from __future__ import annotations

import pytest
from tiny import tiny_config

from hat_deploy.errors import UsageError
from hat_deploy.geometry import check_tile, default_halo, fitted, grid, tile_count
from hat_deploy.networks.hat.config import VARIANTS
from hat_deploy.networks.hat.cost import memory
from hat_deploy.tiles.choice import BATCH_PIXELS, choose, usual_tile

HAT = VARIANTS["HAT"]
MUCH = 2**50


def test_pictures_of_one_size_become_one_tile_each() -> None:
    chosen = choose([(300, 500)] * 10, HAT, free=MUCH)
    assert chosen.tile == (304, 512)
    assert chosen.work == pytest.approx(304 * 512 / (300 * 500))
    assert "304x512" in chosen.reason and "10 images" in chosen.reason


def test_full_hd_is_cut_into_equal_rectangles_with_little_waste() -> None:
    chosen = choose([(1080, 1920)] * 64, HAT, free=8 * 2**30)
    assert chosen.work <= 1.15
    assert "(256x256: 1.42)" in chosen.reason


def test_thumbnails_do_not_get_large_tiles() -> None:
    assert choose([(60, 64)] * 100 + [(64, 50)] * 100, HAT, free=MUCH).tile == (64, 64)


def test_the_work_is_what_the_grid_says() -> None:
    sizes = [(1000, 1500), (700, 300), (17, 2000)]
    chosen = choose(sizes, HAT, free=memory(HAT, 256, 256, fused=False).total)
    halo = default_halo(chosen.tile, 16)
    check_tile(chosen.tile, halo, 16)
    computed = 0
    for size in sizes:
        height, width = fitted(size, chosen.tile, halo, 16)
        computed += len(grid(size, (height, width), halo, 16).tiles) * height * width
    useful = sum(h * w for h, w in sizes)
    assert chosen.work == pytest.approx(computed / useful)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_no_tile_takes_more_memory_than_there_is(side: int) -> None:
    free = memory(HAT, side, side, fused=False).total
    chosen = choose([(2000, 3000)], HAT, free=free)
    assert chosen.memory <= free
    assert chosen.tile[0] * chosen.tile[1] <= side * side
    assert chosen.batch == 1


def test_on_a_gpu_no_tile_has_more_pixels_than_a_batch_gains_from() -> None:
    sizes = [(3000, 4000)] * 8
    assert choose(sizes, HAT, free=MUCH).tile == (3008, 4000)
    chosen = choose(sizes, HAT, free=MUCH, gpu=True)
    assert chosen.tile[0] * chosen.tile[1] <= BATCH_PIXELS
    kept = choose([(1024, 1024)] * 8, HAT, free=MUCH, gpu=True, ready=(1024, 1024))
    assert kept.tile == (1024, 1024)


def test_less_memory_never_means_less_work() -> None:
    sizes = [(2000, 3000), (333, 777)]
    work = [
        choose(sizes, HAT, free=memory(HAT, side, side, fused=False).total).work
        for side in (64, 128, 256, 512)
    ]
    assert work == sorted(work, reverse=True)


def test_a_ready_tile_is_kept_unless_another_saves_a_tenth() -> None:
    assert choose([(240, 250)], HAT, free=2**34, gpu=True, ready=(256, 256)).tile == (256, 256)
    assert choose([(60, 60)] * 5, HAT, free=2**34, gpu=True, ready=(256, 256)).tile == (64, 64)
    assert choose([(60, 60)] * 5, HAT, free=2**34, ready=(256, 256)).tile == (256, 256)
    assert choose([(1000, 1500)], HAT, free=2**34, ready=(256, 256)).work < 1.1
    assert choose([(500, 500)], HAT, free=MUCH, ready=(512, 512)).tile == (512, 512)


def test_a_gpu_gets_batches_of_small_tiles() -> None:
    chosen = choose([(64, 64)] * 100, HAT, free=2**36, gpu=True)
    assert (chosen.tile, chosen.batch) == ((64, 64), 16)
    assert choose([(64, 64)] * 3, HAT, free=2**36, gpu=True).batch == 2
    tight = choose([(64, 64)] * 100, HAT, free=3 * memory(HAT, 64, 64).total, gpu=True)
    assert tight.batch == 2


def test_other_windows_get_their_multiples() -> None:
    chosen = choose([(61, 45)], tiny_config(), free=MUCH)
    assert chosen.tile == (64, 48)


def test_what_cannot_be_chosen_is_said() -> None:
    with pytest.raises(UsageError, match="needs images"):
        choose([], HAT, free=MUCH)
    with pytest.raises(UsageError, match=r"1 MiB.*a tile of 64x64 needs about \d"):
        choose([(100, 100)], HAT, free=2**20)


def test_exact_tiles_are_chosen_by_their_wider_halo_and_two_passes() -> None:
    size = (1080, 1920)
    chosen = choose([size], HAT, free=8 * 2**30, exact=True, any_size=False)
    halo = default_halo(chosen.tile, 16, exact=True)
    assert halo == 32
    tiles = len(grid(size, chosen.tile, halo, 16).tiles)
    computed = 2 * tiles * chosen.tile[0] * chosen.tile[1]
    assert chosen.work == pytest.approx(computed / (size[0] * size[1]))
    plain = choose([size], HAT, free=8 * 2**30).tile
    assert computed < 2 * len(grid(size, plain, 32, 16).tiles) * plain[0] * plain[1]


def test_an_image_of_one_exact_tile_takes_one_pass() -> None:
    chosen = choose([(300, 500)], HAT, free=MUCH, exact=True, any_size=False)
    assert chosen.tile == (304, 512)
    assert chosen.work == pytest.approx(304 * 512 / (300 * 500))


def test_an_artifact_of_one_size_computes_small_images_in_whole_tiles() -> None:
    sizes = [(60, 64), (500, 500)]
    one, any_ = (choose(sizes, HAT, free=MUCH, any_size=open_) for open_ in (False, True))
    assert one.work > any_.work


def test_the_usual_tile_is_what_the_process_can_hold() -> None:
    estimates = {side: HAT.process_memory(side, side)["openvino"] for side in (384, 448, 512)}
    assert usual_tile(HAT, "openvino", MUCH) == (512, 512)
    assert usual_tile(HAT, "openvino", 2 * estimates[448]) == (448, 448)
    assert usual_tile(HAT, "openvino", 2 * estimates[384]) == (384, 384)
    assert usual_tile(HAT, "openvino", estimates[384]) == (256, 256)
    assert usual_tile(HAT, "onnxruntime", MUCH) == (256, 256)
    assert usual_tile(tiny_config(), "onnxruntime", MUCH) == (512, 512)


def test_the_usual_tiles_of_1080p_compute_little_twice() -> None:
    tile = usual_tile(HAT, "openvino", MUCH)
    height, width = fitted((1080, 1920), tile, 16, 16)
    assert tile_count((1080, 1920), (height, width), 16) * height * width <= 1.15 * 1080 * 1920
