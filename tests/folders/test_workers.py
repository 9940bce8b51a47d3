from __future__ import annotations

import pytest

from hat_deploy.folders.workers import MOST_ENCODERS, threads


@pytest.mark.parametrize(
    ("cores", "beside_a_cpu", "beside_a_gpu"),
    [
        (1, (1, 1), (1, 1)),
        (2, (1, 1), (1, 1)),
        (4, (2, 2), (2, 2)),
        (8, (2, 2), (2, 5)),
        (12, (2, 4), (2, 8)),
        (64, (2, 4), (2, MOST_ENCODERS)),
    ],
)
def test_encoders_take_the_cores_that_a_gpu_engine_leaves(
    cores: int, beside_a_cpu: tuple[int, int], beside_a_gpu: tuple[int, int]
) -> None:
    assert threads(cores) == beside_a_cpu
    assert threads(cores, on_gpu=True) == beside_a_gpu


def test_several_gpus_take_more_of_both() -> None:
    assert threads(64, on_gpu=True, engines=4) == (8, 4 * MOST_ENCODERS)
    assert threads(32, on_gpu=True, engines=8) == (8, 23)
    assert threads(8, on_gpu=True, engines=2) == (2, 5)
    assert threads(64, engines=4) == threads(64)
