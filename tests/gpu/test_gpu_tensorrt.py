"""Plans built and run by a real TensorRT, against the network in PyTorch on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny import random_network, tiny_config

from hat_deploy.engines import cuda, open_artifact
from hat_deploy.engines.base import Engine
from hat_deploy.engines.cuda.base import Cuda
from hat_deploy.engines.inflight import RESERVE
from hat_deploy.engines.tensorrt.engine import TensorRTEngine
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import ArtifactError
from hat_deploy.export import to_plan
from hat_deploy.export.to_onnx import ExportOptions, describe, write
from hat_deploy.export.to_plan import BuildOptions
from hat_deploy.metrics import compare
from hat_deploy.precision import Precision

pytestmark = pytest.mark.gpu
TILE = (24, 16)
Ran = Callable[[Engine], None]


def make_plan(folder: Path, flavour: str, **options: object) -> Path:
    network = random_network(tiny_config())
    chosen = ExportOptions(**{"tile": TILE, "batch": 2, "precision": "fp16"} | options)
    source = folder / "tiny.onnx"
    write(network, source, describe(network, chosen, model="tiny", checkpoint_sha256="00" * 32))
    to_plan.build(source, folder / "tiny.plan", BuildOptions(flavour=flavour))
    return folder / "tiny.plan"


@pytest.fixture
def plan(flavour: str, tmp_path: Path) -> Path:
    return make_plan(tmp_path, flavour)


def batches(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((2, 3, *TILE), np.float32) for _ in range(count)]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_it_computes_what_the_network_computes(
    flavour: str, tmp_path: Path, precision: str, executed: Ran
) -> None:
    (batch,) = batches(1)
    with TorchEngine(random_network(tiny_config()), tile=TILE, batch=2) as reference:
        expected = reference.run(batch)
    path = make_plan(tmp_path, flavour, precision=precision)
    with open_artifact(path, device="cuda") as engine:
        found = compare(expected, engine.run(batch))
        executed(engine)
    assert found.non_finite == 0
    assert found.psnr >= Precision.of(precision).floor


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_a_stream_gives_what_single_runs_give(plan: Path, in_flight: int, executed: Ran) -> None:
    given = batches(7)
    with TensorRTEngine(plan, in_flight=in_flight) as engine:
        assert f"{in_flight} in flight" in engine.name
        single = [engine.run(batch) for batch in given]
        for alone, streamed in zip(single, engine.stream(given), strict=True):
            assert np.array_equal(alone, streamed)
        executed(engine)


def test_bytes_are_the_rounded_values_of_the_float_plan(
    flavour: str, tmp_path: Path, executed: Ran
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *TILE, 3), np.uint8)
    floats = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(255))
    with TorchEngine(random_network(tiny_config()), tile=TILE, batch=2) as reference:
        expected = np.rint(np.clip(reference.run(floats), 0, 1) * 255).transpose(0, 2, 3, 1)
    with open_artifact(make_plan(tmp_path, flavour, io="uint8")) as engine:
        assert (engine.input.layout, engine.input.dtype) == ("NHWC", "uint8")
        result = engine.run(pixels)
        executed(engine)
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 2
    assert np.mean(result != expected) < 0.1


@contextmanager
def all_but(device: Cuda, left: int) -> Iterator[None]:
    """Take the device's memory until no more than about ``left`` bytes are free."""
    taken = []
    try:
        for step in (1 << 30, 1 << 24):
            while device.memory()[0] - step > left:
                taken.append(device.allocate(step))
        yield
    finally:
        for address in taken:
            device.free(address)


def test_a_full_gpu_is_one_sentence_and_nothing_is_left(plan: Path, executed: Ran) -> None:
    with TensorRTEngine(plan) as engine:  # loads all that stays loaded
        executed(engine)
    device = cuda.open_device(extra="gpu", purpose="This test")
    before = device.memory()[0]
    with (
        all_but(device, RESERVE // 2),
        pytest.raises(ArtifactError, match="does not fit into the memory of this") as error,
    ):
        TensorRTEngine(plan)
    assert "\n" not in str(error.value)
    assert abs(device.memory()[0] - before) < RESERVE
    device.close()


def test_opening_it_again_and_again_leaves_nothing(plan: Path) -> None:
    with TensorRTEngine(plan):
        pass
    device = cuda.open_device(extra="gpu", purpose="This test")
    before = device.memory()[0]
    for _ in range(20):
        with TensorRTEngine(plan) as engine:
            engine.run(batches(1)[0])
    assert before - device.memory()[0] < 32 << 20
    device.close()


def test_a_stream_that_fails_can_be_followed_by_another(plan: Path) -> None:
    with TensorRTEngine(plan) as engine:
        given = batches(3)
        with pytest.raises(ValueError, match="engine input"):
            list(engine.stream([given[0], np.zeros(1)]))
        assert np.array_equal(engine.run(given[1]), next(engine.stream([given[1]])))
