"""Several engines as one: order, sharing, failures, ends; on real engines, equal to one of them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from fakes import IdentityEngine
from simulated import DTYPE, SimulatedCuda, SimulatedTensorRT, plan_file
from tiny import random_edsr, random_network, tiny_config

from hat_deploy import Upscaler
from hat_deploy.artifact import describe
from hat_deploy.engines import BACKENDS, open_artifact
from hat_deploy.engines.base import Array, Arrays, Engine, sized
from hat_deploy.engines.dealing import Deal
from hat_deploy.engines.engine_thread import NAME
from hat_deploy.engines.several import AHEAD, SeveralEngines, count_of
from hat_deploy.engines.tensorrt.engine import TensorRTEngine
from hat_deploy.engines.tensorrt.library import Library
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.export.to_onnx import ExportReport

Exported = Callable[..., ExportReport]
PATIENCE = 60.0
"""Seconds after which a test that hangs fails."""


@pytest.fixture(scope="module")
def of_bytes(exported: Exported) -> Path:
    return exported(random_edsr(), tile=(32, 32), batch=2, io="uint8").path


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert ours() == []


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def batch(value: int) -> Array:
    return np.full((1, 3, 16, 16), value, np.float32)


def value_of(result: Array) -> int:
    assert (result == result.flat[0]).all()
    return int(result.flat[0])


class Failing(IdentityEngine):
    """Fails at one value."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.fails_at = at

    def run(self, batch: Array) -> Array:
        if batch.flat[0] == self.fails_at:
            raise ArtifactError(f"on purpose at {self.fails_at}")
        return super().run(batch)


class Reusing(IdentityEngine):
    """Writes every result into the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self._memory = np.empty(self.output.shape, np.float32)

    def run(self, batch: Array) -> Array:
        self._memory[...] = super().run(batch)
        return self._memory


def identities(count: int = 3, kind: Callable[[], Engine] = IdentityEngine) -> SeveralEngines:
    return SeveralEngines([kind] * count)


@pytest.mark.parametrize("kind", [IdentityEngine, Reusing])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order_and_batches_may_be_reused(
    kind: Callable[[], Engine], count: int
) -> None:
    reused = batch(0)

    def batches() -> Iterator[Array]:
        for value in range(40):
            reused.fill(value)
            yield reused
            reused.fill(-1)

    with identities(count, kind) as engine:
        assert isinstance(engine, Engine) and count_of(engine) == count
        found = [value_of(result) for result in engine.stream(batches())]
        assert found == [*range(40)]
        kept = engine.run(batch(7))
        assert [value_of(engine.run(batch(value))) for value in (8, 9)] == [8, 9]
        assert value_of(kept) == 7
        assert list(engine.stream([])) == []


def test_it_is_named_by_what_it_is_made_of() -> None:
    with SeveralEngines([IdentityEngine] * 2, note="1 thread") as engine:
        assert engine.name == "2 x identity, 1 thread each"


class Waiting(IdentityEngine):
    """Begins its first batch, and goes on once the event is set."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event = event

    def run(self, batch: Array) -> Array:
        assert self.event.wait(PATIENCE)
        return super().run(batch)


class Telling(IdentityEngine):
    """Sets the event at its last batch but one in a full window."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event = event

    def run(self, batch: Array) -> Array:
        if self.calls == 2 * AHEAD - 3:
            self.event.set()
        return super().run(batch)


def test_a_slow_engine_does_not_hold_the_others() -> None:
    event = threading.Event()
    with SeveralEngines([lambda: Waiting(event), lambda: Telling(event)]) as engine:
        found = [value_of(result) for result in engine.stream(map(batch, range(20)))]
    assert found == [*range(20)]


def test_only_as_many_batches_are_asked_for_as_are_on_their_way() -> None:
    asked: list[int] = []

    def batches() -> Iterator[Array]:
        for value in range(100):
            asked.append(value)
            yield batch(value)

    with identities(2) as engine:
        for taken, _ in enumerate(engine.stream(batches())):
            assert len(asked) <= taken + 2 * AHEAD


def test_the_callers_thread_alone_asks_for_batches() -> None:
    threads: set[int] = set()

    def batches() -> Iterator[Array]:
        for value in range(20):
            threads.add(threading.get_ident())
            yield batch(value)

    with identities() as engine:
        assert len(list(engine.stream(batches()))) == 20
    assert threads == {threading.get_ident()}


class EndingBadly(IdentityEngine):
    """Fails once it has given all results."""

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        yield self.run(next(iter(batches)))
        raise ArtifactError("on purpose")


class GivingUp(IdentityEngine):
    """Takes a batch and gives nothing."""

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        next(iter(batches))
        return iter(())


@pytest.mark.parametrize("at", [0, 5, 19])
def test_what_fails_ends_the_stream_in_its_turn(at: int) -> None:
    asked: list[int] = []

    def batches() -> Iterator[Array]:
        for value in range(20 if at == 19 else 1000):
            asked.append(value)
            yield batch(value)

    with SeveralEngines([lambda: Failing(at)] * 2) as engine:
        found: list[int] = []
        with pytest.raises(ArtifactError, match=f"on purpose at {at}"):
            found.extend(map(value_of, engine.stream(batches())))
        assert found == [*range(at)]
        assert len(asked) <= at + 1 + 2 * AHEAD
        assert value_of(engine.run(batch(30))) == 30  # it can be used again


def test_one_that_fails_of_several_loses_nothing_silently() -> None:
    """Whichever engine has the batch: all that was taken is given or the error is raised."""
    openers: list[Callable[[], Engine]] = [IdentityEngine, lambda: Failing(-1), IdentityEngine]
    for _ in range(20):
        found: list[int] = []
        with SeveralEngines(openers) as engine:
            engine.engines[1].fails_at = 6  # type: ignore[attr-defined]
            try:
                found.extend(map(value_of, engine.stream(map(batch, range(12)))))
            except ArtifactError:
                assert found == [*range(6)]
            else:
                assert found == [*range(12)]


@pytest.mark.parametrize("kind", [EndingBadly, GivingUp])
def test_an_engine_whose_stream_ends_badly_hangs_nothing(kind: Callable[[], Engine]) -> None:
    with identities(1, kind) as engine, pytest.raises(ArtifactError, match=r"on purpose|fewer"):
        list(engine.stream(map(batch, range(40))))


def test_a_second_batch_in_flight_comes_after_the_first_of_the_others() -> None:
    """Two tiles keep two GPUs busy, and do not queue at one of them."""
    took: list[int] = []

    def compute(batches: Iterator[Arrays]) -> Iterator[Arrays]:
        taken = list(batches)
        took.append(len(taken))
        return iter(taken)

    for engines, expected in ((1, [2]), (2, [1, 1])):
        deal = Deal(engines)
        tickets = [deal.add((batch(value),)) for value in range(2)]
        deal.close()
        deal.serve(IdentityEngine(), compute)
        assert [value_of(deal.collect(ticket)[0]) for ticket in tickets] == [0, 1]
        assert took == expected
        took.clear()


def test_an_error_of_what_feeds_it_goes_through() -> None:
    def batches() -> Iterator[Array]:
        yield batch(0)
        raise KeyError("on purpose")

    with identities() as engine, pytest.raises(KeyError, match="on purpose"):
        list(engine.stream(batches()))


def test_what_is_no_batch_is_refused_as_by_one() -> None:
    with identities() as engine, pytest.raises(ValueError, match="engine input 'input'"):
        engine.run(np.zeros((1, 3, 16, 8), np.float32))


def test_a_stream_left_in_the_middle_is_ended_by_the_next_and_by_the_end() -> None:
    with identities() as engine:
        left = engine.stream(map(batch, range(50)))
        assert value_of(next(left)) == 0
        assert value_of(engine.run(batch(3))) == 3
        with pytest.raises(UsageError, match="another stream of batches"):
            list(left)
        closed = engine.stream(map(batch, range(50)))
        next(closed)
        closed.close()  # type: ignore[attr-defined]
        unfinished = engine.stream(map(batch, range(50)))
        next(unfinished)
    with pytest.raises(ArtifactError, match="closed"):
        engine.run(batch(0))


def test_where_one_cannot_be_opened_the_others_are_closed() -> None:
    closed: list[str] = []

    class Noting(IdentityEngine):
        def close(self) -> None:
            closed.append(threading.current_thread().name)

    def refuses() -> Engine:
        raise ArtifactError("on purpose")

    with pytest.raises(ArtifactError, match="on purpose"):
        SeveralEngines([Noting, refuses, Noting])
    assert closed == [NAME]


def test_one_that_does_not_close_leaves_no_thread() -> None:
    class Stuck(IdentityEngine):
        def close(self) -> None:
            raise ArtifactError("on purpose")

    with pytest.raises(ArtifactError, match="on purpose"), identities(2, Stuck) as engine:
        engine.run(batch(0))
    assert ours() == []


def test_a_program_that_never_closes_it_exits() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import numpy as np\n"
        "from fakes import IdentityEngine\n"
        "from hat_deploy.engines.several import SeveralEngines\n"
        "engine = SeveralEngines([IdentityEngine] * 2)\n"
        "batch = np.zeros((1, 3, 16, 16), np.float32)\n"
        "results = engine.stream([batch] * 100)\n"
        "print(next(results).shape)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(1, 3, 32, 32)\n", "")


# ---------------------------------------------------------------- simulated GPUs

BYTES = {"input": (2, 32, 32, 3), "output": (2, 64, 64, 3), "peak": (2,)}


class OneThreadCuda(SimulatedCuda):
    """As CUDA's current device and pycuda's context ask for: all calls from one thread. A fault
    stays. With two batches in flight it computes once its peers have as many."""

    def __init__(self, **how: int) -> None:
        self.thread = threading.get_ident()
        self.peers: list[OneThreadCuda] = []
        self.full = threading.Event()
        super().__init__(**how)

    def _call(self) -> None:
        assert threading.get_ident() == self.thread
        if self.fail_at is not None:
            self.fail_at = max(self.fail_at, self.calls)
        super()._call()

    def synchronize(self, stream: int) -> None:
        if all(self.streams.values()) and len(self.streams) == 2:
            self.full.set()
            assert all(peer.full.wait(PATIENCE) for peer in self.peers)
        super().synchronize(stream)

    def close(self) -> None:
        assert threading.get_ident() == self.thread
        super().close()


@pytest.fixture
def gpus(of_bytes: Path, tmp_path: Path) -> Callable[..., SeveralEngines]:
    """Opens a plan for bytes on simulated GPUs, which it notes."""
    described = replace(
        describe(of_bytes), versions={"tensorrt": "10.13.0"}, targets=("sm89",), precision="fp16"
    )
    plan = plan_file(tmp_path / "tiny.plan", described.to_json())

    def build(made: list[OneThreadCuda], *hows: dict[str, int]) -> SeveralEngines:
        def opener(how: dict[str, int], number: int) -> Callable[[], Engine]:
            def open_() -> Engine:
                cuda = OneThreadCuda(**how)
                made.append(cuda)
                trt = SimulatedTensorRT(cuda, shapes=BYTES, dtype=DTYPE.UINT8, peak=float(number))
                return TensorRTEngine(plan, library=Library("tensorrt", trt), device=cuda)

            return open_

        return SeveralEngines([opener(how, number) for number, how in enumerate(hows, 1)])

    return build


def bytes_of(value: int) -> Array:
    return np.full(BYTES["input"], value, np.uint8)


def test_gpus_keep_batches_in_flight_each_in_a_thread_of_its_own(
    gpus: Callable[..., SeveralEngines],
) -> None:
    made: list[OneThreadCuda] = []
    with gpus(made, {}, {}) as engine:
        for cuda in made:
            cuda.peers = made
        assert engine.on_gpu and engine.input.dtype == "uint8"
        assert engine.name.startswith("2 x TensorRT 10.13.0, NVIDIA Imaginary, fp16, 2 in flight")
        peaks = set()
        for value, result in enumerate(engine.stream(map(bytes_of, range(200)))):
            assert value_of(result) == value
            assert engine.peaks is not None
            peaks |= {*engine.peaks.tolist()}
        assert peaks == {1.0, 2.0}  # both gave results, each with its own
    assert [cuda.most_waiting for cuda in made] == [2, 2]
    assert [cuda.leftovers for cuda in made] == [[], []] and all(cuda.closed for cuda in made)


def test_a_gpu_that_fails_ends_the_stream_and_leaves_nothing(
    gpus: Callable[..., SeveralEngines],
) -> None:
    made: list[OneThreadCuda] = []
    found: list[int] = []
    with gpus(made, {}, {"fail_at": 60}) as engine:
        with pytest.raises(ArtifactError, match="cudaErrorOnPurpose"):
            # Until it does: nothing says how many batches each of the two takes.
            found.extend(map(value_of, engine.stream(bytes_of(n % 256) for n in count())))
        assert found == [number % 256 for number in range(len(found))]
    assert [cuda.leftovers for cuda in made] == [[], []]


# ---------------------------------------------------------------- real engines


@pytest.fixture(scope="module")
def any_size(exported: Exported) -> Path:
    return exported(random_edsr(), tile=(32, 32), any_size=True).path


def pictures() -> list[Array]:
    rng = np.random.default_rng(0)
    sizes = [(20, 30, 3), (100, 70, 3), (33, 90), (64, 64, 4), (5, 7, 3), (100, 70, 3)]
    found: list[Array] = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    return [*found, rng.integers(0, 2**16, (80, 40, 3), np.uint16)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_are_equal_to_those_of_one_engine(any_size: Path, backend: str) -> None:
    found = []
    for device in ("cpu", "cpu,cpu"):
        with Upscaler(any_size, device=device, backend=backend, threads=1) as upscaler:
            assert (count_of(upscaler.engine) == 2) is (device == "cpu,cpu")
            found.append([*upscaler.upscale_many(pictures()), dict(upscaler.settings)])
    *one, settings = found[0]
    *several, others = found[1]
    assert settings == others  # a journal lets a run go on with another number of engines
    for expected, result in zip(one, several, strict=True):
        np.testing.assert_array_equal(expected, result)


def test_bytes_are_equal_too_and_cores_are_divided(of_bytes: Path) -> None:
    pixels = pictures()[1]
    with Upscaler(of_bytes) as one, Upscaler(of_bytes, device="cpu,cpu,cpu") as three:
        np.testing.assert_array_equal(one.upscale(pixels), three.upscale(pixels))
        assert three.engine.name.startswith("3 x openvino")
        assert three.engine.name.endswith("each")
    with open_artifact(of_bytes, device="cpu,cpu", threads=3) as engine:
        assert engine.name.endswith("fp32, 3 threads each")


def test_averages_of_the_whole_image_are_the_same() -> None:
    def opener() -> Engine:
        return TorchEngine(random_network(tiny_config(depths=(1,))), tile=(24, 24), exact=True)

    pixels = pictures()[1]
    with Upscaler(opener(), halo=4) as one, Upscaler(SeveralEngines([opener] * 2), halo=4) as two:
        assert (one.passes, two.passes) == (2, 2)
        assert one.settings == two.settings
        np.testing.assert_array_equal(one.upscale(pixels), two.upscale(pixels))


def test_other_sizes_share_the_engines(any_size: Path) -> None:
    with open_artifact(any_size, device="cpu,cpu", threads=1) as engine:
        small = sized(engine, (8, 12))
        assert small.input.size == (8, 12) and count_of(small) == 2
        assert small.run(np.zeros(small.input.shape, np.float32)).shape == small.output.shape
        assert len(ours()) == 2
    with SeveralEngines([IdentityEngine] * 2) as fixed:
        assert sized(fixed, (8, 12)) is fixed
