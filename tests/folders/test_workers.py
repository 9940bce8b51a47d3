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
