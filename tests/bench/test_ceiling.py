from __future__ import annotations

import os

import numpy as np
import pytest

from hat_deploy.bench import ceiling
from hat_deploy.bench.ceiling import measure_ceiling, quickest
from hat_deploy.bench.children import ChildDied, in_child


class FakeProducts:
    """Products that take ``seconds_at_512`` times the cube of the side."""

    def __init__(self, seconds_at_512: float) -> None:
        self.seconds = seconds_at_512
        self.now = 0.0
        self.sides: list[int] = []
        self.slower = 2.0

    def make(self, side: int) -> object:
        self.sides.append(side)

        def product() -> None:
            self.now += self.seconds * (side / 512) ** 3 * self.slower
            self.slower = max(1.0, self.slower - 0.25)

        return product


def test_the_side_grows_until_a_product_can_be_timed() -> None:
    fake = FakeProducts(0.01)
    side, seconds = quickest(fake.make, largest=4096, clock=lambda: fake.now)
    assert (side, fake.sides) == (1024, [512, 1024])
    assert seconds == pytest.approx(0.08)  # the fastest, not the slow first ones


def test_the_side_stops_growing_at_the_largest() -> None:
    fake = FakeProducts(1e-6)
    assert quickest(fake.make, largest=2048, clock=lambda: fake.now, seconds=0.01)[0] == 2048


def test_numpy_multiplies_what_it_is_said_to() -> None:
    product = ceiling._numpy_product(64)()
    assert product.shape == (64, 64)
    assert product.dtype == np.float32
    assert product.std() > 0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_this_machine_has_a_rate(precision: str) -> None:
    found = measure_ceiling(precision, "cpu", 1)
    assert found is not None
    assert 1e8 < found.flops < 1e14
    assert found.precision == precision
    assert found.side >= 512


@pytest.mark.slow
def test_without_a_device_there_is_no_ceiling() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    assert measure_ceiling("fp16", "cuda", 1) is None


def test_a_child_reads_the_threads_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert in_child(os.getenv, "OMP_NUM_THREADS", threads=3) == "3"
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(ChildDied, match="ZeroDivisionError"):
        in_child(divmod, 1, 0, threads=1)
    with pytest.raises(ChildDied, match="code 9"):
        in_child(os._exit, 9, threads=1)
