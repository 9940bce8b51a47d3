"""The engine class on a simulated GPU: order, memory, failures; no real library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import CODE, DTYPE, SimulatedCuda, SimulatedTensorRT, plan_file

from hat_deploy.artifact import describe
from hat_deploy.engines.base import Engine
from hat_deploy.engines.cuda.base import OUT_OF_MEMORY, CudaError
from hat_deploy.engines.inflight import RESERVE
from hat_deploy.engines.tensorrt.engine import TensorRTEngine
from hat_deploy.engines.tensorrt.library import Library
from hat_deploy.errors import ArtifactError

SHAPES = {"input": (2, 3, 24, 16), "output": (2, 3, 48, 32)}
BYTES = {"input": (2, 24, 16, 3), "output": (2, 48, 32, 3)}

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

ONE = 4 * 2 * 3 * (24 * 16 + 48 * 32) + 4096
"""GPU memory of one batch."""


@pytest.fixture
def plan(tiny_onnx: Path, tmp_path: Path) -> Path:
    described = replace(
        describe(tiny_onnx), versions={"tensorrt": "10.13.0"}, targets=("sm89",), precision="fp16"
    )
    return plan_file(tmp_path / "tiny.plan", described.to_json())


def build(plan: Path, cuda: SimulatedCuda, *, in_flight: int = 2, **how: Any) -> TensorRTEngine:
    trt = SimulatedTensorRT(cuda, **{"shapes": SHAPES} | how)
    return TensorRTEngine(plan, in_flight=in_flight, library=Library("tensorrt", trt), device=cuda)


def pixels(count: int = 1, shape: tuple[int, ...] = SHAPES["input"]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(shape, np.float32) for _ in range(count)]


def enlarged(batch: np.ndarray) -> np.ndarray:
    return batch.repeat(2, 2).repeat(2, 3)


def test_it_is_an_engine_and_asks_the_plan_for_its_io(plan: Path) -> None:
    with build(plan, SimulatedCuda()) as engine:
        assert isinstance(engine, Engine)
        assert (engine.input.shape, engine.output.shape) == (SHAPES["input"], SHAPES["output"])
        assert (engine.input.dtype, engine.input.layout, engine.window) == ("float32", "NCHW", 4)
        assert engine.name == "TensorRT 10.13.0, NVIDIA Imaginary, fp16, 2 in flight, CUDA graphs"


@pytest.mark.parametrize("version", ["8.6.0", "10.0.1", "10.1.0", "11.4.0.106"])
def test_all_versions_run(plan: Path, version: str) -> None:
    described = replace(describe(plan), versions={"tensorrt": version})
    plan_file(plan, described.to_json())
    cuda = SimulatedCuda()
    (batch,) = pixels()
    with build(plan, cuda, version=version) as engine:
        assert np.array_equal(engine.run(batch), enlarged(batch))
    assert cuda.leftovers == []


def test_the_rtx_flavour_runs(plan: Path) -> None:
    plan_file(plan, replace(describe(plan), versions={"rtx": "1.7.1"}).to_json(), begins=b"vtrt")
    cuda = SimulatedCuda()
    (batch,) = pixels()
    trt = SimulatedTensorRT(cuda, shapes=SHAPES, version="1.7.1.116")
    with TensorRTEngine(plan, library=Library("rtx", trt), device=cuda) as engine:
        assert np.array_equal(engine.run(batch), enlarged(batch))


def test_bytes_go_in_and_come_out(plan: Path) -> None:
    plan_file(plan, replace(describe(plan), io="uint8").to_json())
    batch = np.random.default_rng(0).integers(0, 256, BYTES["input"], np.uint8)
    with build(plan, SimulatedCuda(), shapes=BYTES, dtype=DTYPE.UINT8) as engine:
        assert (engine.input.layout, engine.input.size) == ("NHWC", (24, 16))
        assert np.array_equal(engine.run(batch), batch.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_a_stream_gives_what_single_runs_give(plan: Path, in_flight: int, graphs: bool) -> None:
    cuda = SimulatedCuda(graphs=graphs)
    with build(plan, cuda, in_flight=in_flight) as engine:
        assert ("CUDA graphs" in engine.name) is graphs
        given = pixels(7)
        for batch, result in zip(given, engine.stream(given), strict=True):
            assert np.array_equal(result, enlarged(batch))
    assert cuda.most_waiting == in_flight
    assert cuda.launches == (7 if graphs else 0)


def test_batches_may_be_reused_and_a_result_stands_until_the_next(plan: Path) -> None:
    reused = np.empty(SHAPES["input"], np.float32)

    def batches() -> Any:
        for value in range(5):
            reused.fill(value)
            yield reused

    with build(plan, SimulatedCuda()) as engine:
        results = [result.copy() for result in engine.stream(batches())]
    assert [result.min() for result in results] == [result.max() for result in results]
    assert [int(result.max()) for result in results] == [0, 1, 2, 3, 4]


def test_a_streamed_result_is_no_copy_and_that_of_a_run_is(plan: Path) -> None:
    cuda = SimulatedCuda()
    first, second = pixels(2)
    with build(plan, cuda) as engine:
        streamed = next(engine.stream([first]))
        assert any(np.shares_memory(streamed, pinned) for pinned in cuda.pinned.values())
        kept = engine.run(first)
        engine.run(second)
        engine.run(second)
        assert np.array_equal(kept, enlarged(first))
    assert np.array_equal(kept, enlarged(first))


def test_a_stream_left_in_the_middle_does_not_disturb_the_next(plan: Path) -> None:
    given = pixels(4)
    with build(plan, SimulatedCuda()) as engine:
        left = engine.stream(given)
        next(left)
        assert np.array_equal(engine.run(given[3]), enlarged(given[3]))
    left.close()  # after the engine


def test_what_is_no_batch_is_refused_and_leaves_nothing_at_work(plan: Path) -> None:
    with build(plan, SimulatedCuda()) as engine:
        results = engine.stream([pixels()[0], np.zeros((1, 2))])
        with pytest.raises(ValueError, match="engine input 'input'"):
            list(results)
        assert engine.run(pixels()[0]).shape == SHAPES["output"]


def test_a_capture_that_fails_is_done_without(plan: Path) -> None:
    cuda = SimulatedCuda()
    (batch,) = pixels()
    with build(plan, cuda, refuses="capture") as engine:
        assert "graphs" not in engine.name
        assert np.array_equal(engine.run(batch), enlarged(batch))
    assert cuda.launches == 0


def test_memory_is_known_before_it_is_taken(plan: Path) -> None:
    cuda = SimulatedCuda(free=RESERVE + 5 * ONE)
    with build(plan, cuda) as engine:
        assert engine.need.total == ONE
        assert cuda.total - cuda.free_bytes == 2 * ONE


@pytest.mark.parametrize(("room", "slots"), [(3, 3), (2, 2), (1, 1)])
def test_less_memory_is_fewer_batches_in_flight(plan: Path, room: int, slots: int) -> None:
    cuda = SimulatedCuda(free=RESERVE + room * ONE)
    given = pixels(4)
    with build(plan, cuda, in_flight=3) as engine:
        assert f"{slots} in flight" in engine.name
        for batch, result in zip(given, engine.stream(given), strict=True):
            assert np.array_equal(result, enlarged(batch))


def test_memory_that_runs_out_after_all_is_fewer_batches_in_flight(plan: Path) -> None:
    calls = SimulatedCuda()
    with build(plan, calls, in_flight=1):
        first_slot = calls.calls
    cuda = SimulatedCuda(fail_at=first_slot + 3, code=OUT_OF_MEMORY)
    with build(plan, cuda) as engine:
        assert "1 in flight" in engine.name
    assert cuda.leftovers == []


def test_too_little_memory_is_one_sentence_and_nothing_is_left(plan: Path) -> None:
    cuda = SimulatedCuda(free=RESERVE + ONE - 1)
    with pytest.raises(ArtifactError, match="does not fit into the memory of this NVIDIA") as error:
        build(plan, cuda)
    assert "hat-deploy export CHECKPOINT -o tiny.plan --tile 24x16 --batch 2" in str(error.value)
    assert "0.07 GB of 0.07 GB are free" in str(error.value)
    assert cuda.leftovers == []


def test_a_plan_larger_than_the_memory_is_not_even_loaded(plan: Path) -> None:
    cuda = SimulatedCuda(free=100)
    with pytest.raises(ArtifactError, match="GB of the plan"):
        build(plan, cuda, refuses="deserialize")


@pytest.mark.parametrize("what", ["deserialize", "context", "enqueue"])
def test_tensorrts_own_reason_is_given(plan: Path, what: str) -> None:
    cuda = SimulatedCuda()
    with pytest.raises(ArtifactError, match=f"TensorRT .*: {what} refused$"):
        build(plan, cuda, refuses=what)
    assert cuda.leftovers == []
    assert cuda.closed


@pytest.mark.parametrize("what", ["deserialize", "context", "enqueue"])
def test_tensorrt_out_of_memory_is_known_by_its_code(plan: Path, what: str) -> None:
    with pytest.raises(ArtifactError, match="does not fit into the memory"):
        build(plan, SimulatedCuda(), refuses=what, code=CODE.FAILED_ALLOCATION)


def test_a_failure_at_any_call_leaves_nothing(plan: Path) -> None:
    whole = SimulatedCuda()
    with build(plan, whole):
        construction = whole.calls
    assert construction > 20
    for number in range(construction):
        cuda = SimulatedCuda(fail_at=number)
        try:
            with build(plan, cuda):
                pass  # a capture that fails is no error
        except CudaError as error:
            assert error.code == 700
        assert cuda.leftovers == [], f"call {number}"
        assert cuda.closed


def test_a_failure_while_running_is_reported_once_and_nothing_is_left(plan: Path) -> None:
    with build(plan, SimulatedCuda()) as engine:
        construction = engine._device.calls
    cuda = SimulatedCuda(fail_at=construction + 3)
    engine = build(plan, cuda)
    with engine, pytest.raises(CudaError, match=r"failed with cudaErrorOnPurpose \(700\)"):
        list(engine.stream(pixels(5)))
    assert cuda.leftovers == []


@pytest.mark.parametrize(
    "shapes",
    [
        {"input": (2, 3, 24, 16)},
        {"input": (2, 3, -1, 16), "output": (2, 3, -1, 32)},
        {"input": (2, 24, 16), "output": (2, 48, 32)},
        {"input": (2, 3, 24, 16), "input2": (2, 3, 24, 16), "output": (2, 3, 48, 32)},
    ],
    ids=["no output", "dynamic", "dimensions", "inputs"],
)
def test_another_io_is_refused(plan: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ArtifactError, match="expected"):
        build(plan, SimulatedCuda(), shapes=shapes)


def test_another_type_is_refused(plan: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'input' is INT32 \[2, 3, 24, 16\]"):
        build(plan, SimulatedCuda(), dtype=DTYPE.INT32)


EXACT = {
    "rows": (2, 1, 24, 1),
    "input": (2, 3, 24, 16),
    "averages": (2, 4, 12, 1),
    "known": (2, 1, 1, 1),
    "columns": (2, 1, 1, 16),
    "own_averages": (2, 4, 12, 1),
    "output": (2, 3, 48, 32),
}
"""What an exact plan has, in an order of its own."""


@pytest.mark.parametrize("graphs", [True, False])
def test_an_exact_plan_takes_and_gives_averages(plan: Path, graphs: bool) -> None:
    plan_file(plan, replace(describe(plan), averages=(4, 12)).to_json())
    cuda = SimulatedCuda(graphs=graphs)
    rng = np.random.default_rng(0)
    names = ["averages", "known", "rows", "columns"]
    given = [
        (batch, *(rng.random(EXACT[name], np.float32) for name in names)) for batch in pixels(5)
    ]
    with build(plan, cuda, shapes=EXACT) as engine:
        assert engine.averages == (4, 12)
        assert [spec.name for spec in engine._ports.inputs] == ["input", *names]
        for batch, results in zip(given, engine.stream_exact(given), strict=True):
            assert np.array_equal(results[0], enlarged(batch[0]))
            assert np.array_equal(results[1], batch[1] * 2 + batch[2])
        assert np.array_equal(engine.run(given[0][0]), enlarged(given[0][0]))
        assert engine.need.total > ONE
    assert cuda.leftovers == []


def test_an_exact_plan_without_its_averages_is_refused(plan: Path) -> None:
    plan_file(plan, replace(describe(plan), averages=(4, 12)).to_json())
    with pytest.raises(ArtifactError, match="1 inputs, and 5 were expected"):
        build(plan, SimulatedCuda())
