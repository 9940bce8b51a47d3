from __future__ import annotations

import numpy as np
import pytest

from hat_deploy.bench.timing import Distribution, Settings, alternate, ratios
from hat_deploy.errors import UsageError


class FakeTime:
    """A clock that only calls and sleeps move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def call(self, name: str, *durations: float) -> object:
        """A call that takes these durations in turn, the last one for ever."""
        left = list(durations)

        def run() -> None:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def run(time: FakeTime, calls: dict[str, object], **settings: float) -> object:
    return alternate(calls, Settings(**settings), clock=time.clock, sleep=time.sleep)


def test_calls_take_turns_after_a_warm_up() -> None:
    time = FakeTime()
    calls = {"a": time.call("a", 0.25), "b": time.call("b", 0.5)}
    timings = run(time, calls, iterations=2, seconds=0, warmup=1)
    assert time.log == ["a", "b"] * 3
    assert timings.seconds["a"].values == (0.25, 0.25)
    assert timings.seconds["b"].values == (0.5, 0.5)
    assert timings.complete


def test_an_untimed_call_comes_right_before_each_timed_one() -> None:
    time = FakeTime()
    calls = {"a": time.call("a", 8.0, 4.0, 0.25), "b": time.call("b", 8.0, 4.0, 0.5)}
    timings = run(time, calls, iterations=1, seconds=0, warmup=1, untimed=1)
    assert time.log == ["a", "b", "a", "a", "b", "b"]
    assert timings.seconds["a"].values == (0.25,)
    assert timings.seconds["b"].values == (0.5,)


def test_neither_the_warm_up_nor_the_pause_is_timed() -> None:
    time = FakeTime()
    timings = run(
        time, {"a": time.call("a", 8.0, 0.5)}, iterations=3, seconds=0, warmup=1, pause=0.125
    )
    assert timings.seconds["a"].values == (0.5, 0.5, 0.5)
    assert time.slept == [0.125] * 3


def test_goes_on_until_enough_seconds_are_timed() -> None:
    time = FakeTime()
    calls = {"a": time.call("a", 0.25), "b": time.call("b", 0.75)}
    timings = run(time, calls, iterations=2, seconds=3, warmup=1)
    assert len(timings.seconds["a"].values) == 6  # 6 rounds of 1 s: 3 s for each of two
    assert timings.complete


def test_goes_on_until_enough_iterations_are_made() -> None:
    time = FakeTime()
    timings = run(time, {"a": time.call("a", 4.0)}, iterations=5, seconds=3, warmup=1)
    assert len(timings.seconds["a"].values) == 5


def test_the_limit_stops_it_and_says_so() -> None:
    time = FakeTime()
    timings = run(
        time, {"a": time.call("a", 4.0)}, iterations=10, seconds=3, warmup=2, limit=10, pause=0
    )
    assert time.log == ["a"] * 3  # 4 s of warm-up are enough warm-up, then 8 and 12
    assert len(timings.seconds["a"].values) == 2
    assert not timings.complete


def test_one_round_is_made_whatever_the_limit() -> None:
    time = FakeTime()
    timings = run(time, {"a": time.call("a", 40.0)}, limit=1)
    assert len(timings.seconds["a"].values) == 1


def test_quantiles_are_linear_between_neighbours() -> None:
    found = Distribution((5.0, 1.0, 2.0, 4.0, 3.0))
    assert found.median == 3.0
    assert found.quartiles == (2.0, 4.0)
    assert found.quantile(0.9) == pytest.approx(4.6)
    assert found.spread == pytest.approx(2 / 3)


def test_the_summary_agrees_with_numpy() -> None:
    values = tuple(np.random.default_rng(0).random(37).tolist())
    summary = Distribution(values).to_dict()
    for name, share in {"p10": 10, "p90": 90, "p95": 95, "p99": 99, "median": 50}.items():
        assert summary[name] == pytest.approx(np.percentile(values, share))
    assert summary["count"] == 37


def test_ratios_pair_what_was_measured_side_by_side() -> None:
    # The machine halves its speed midway: the ratio does not notice, the medians do.
    baseline = Distribution((1.0, 1.0, 2.0, 2.0))
    mine = Distribution((0.5, 0.5, 1.0, 1.0))
    assert ratios(mine, baseline).values == (0.5,) * 4
    assert ratios(mine, baseline).spread == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"warmup": 0},
        {"seconds": -1},
        {"limit": 0},
        {"pause": -1},
        {"untimed": -1},
    ],
)
def test_settings_that_measure_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"at least 1|negative"):
        Settings(**wrong)
