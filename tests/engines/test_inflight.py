"""The order of batches in flight, and how many fit: no device, no engine."""

from __future__ import annotations

import numpy as np
import pytest

from hat_deploy.engines.inflight import RESERVE, Need, keep_in_flight, slots_that_fit

MB = 1 << 20


class Recorder:
    def __init__(self, name: int, log: list[str], fails_on: int | None = None) -> None:
        self.name, self.log, self.fails_on = name, log, fails_on
        self.batch = None

    def submit(self, batch: np.ndarray) -> None:
        assert self.batch is None, "a slot was given a second batch"
        if int(batch) == self.fails_on:
            raise OSError("no")
        self.batch = int(batch)
        self.log.append(f"submit {self.batch} to {self.name}")

    def collect(self) -> np.ndarray:
        batch, self.batch = self.batch, None
        self.log.append(f"collect {batch} from {self.name}")
        return np.array(batch)

    def drain(self) -> None:
        self.log.append(f"drain {self.name}")


def batches(count: int, log: list[str]) -> object:
    for number in range(count):
        log.append(f"take {number}")
        yield np.array(number)


def test_every_slot_is_busy_before_the_first_result() -> None:
    log: list[str] = []
    results = keep_in_flight([Recorder(0, log), Recorder(1, log)], batches(3, log))
    assert [int(result) for result in results] == [0, 1, 2]
    assert log == [
        "take 0",
        "submit 0 to 0",
        "take 1",
        "submit 1 to 1",
        "collect 0 from 0",
        "take 2",
        "submit 2 to 0",
        "collect 1 from 1",
        "collect 2 from 0",
    ]


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order_whatever_the_numbers(slots: int, count: int) -> None:
    log: list[str] = []
    results = keep_in_flight([Recorder(i, log) for i in range(slots)], batches(count, log))
    assert [int(result) for result in results] == list(range(count))


def test_a_batch_is_not_taken_before_it_can_be_run() -> None:
    log: list[str] = []
    results = keep_in_flight([Recorder(0, log), Recorder(1, log)], batches(9, log))
    next(results)
    assert "take 2" not in log


@pytest.mark.parametrize("fails_on", [0, 1, 2])
def test_a_failure_leaves_no_slot_at_work(fails_on: int) -> None:
    log: list[str] = []
    slots = [Recorder(i, log, fails_on) for i in range(2)]
    with pytest.raises(OSError, match="no"):
        list(keep_in_flight(slots, batches(5, log)))
    at_work = [slot.name for slot in slots if slot.batch is not None]
    assert all(f"drain {name}" in log for name in at_work)


def test_a_reader_who_stops_leaves_no_slot_at_work() -> None:
    log: list[str] = []
    results = keep_in_flight([Recorder(0, log), Recorder(1, log)], batches(5, log))
    next(results)
    results.close()
    assert log[-1] == "drain 1"


@pytest.mark.parametrize(
    ("free", "slots"), [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (1000, 3)], ids=str
)
def test_how_many_slots_fit(free: int, slots: int) -> None:
    need = Need(input=1 * MB, output=4 * MB, scratch=5 * MB)
    assert need.total == 10 * MB
    assert slots_that_fit(need, RESERVE + free * MB, 3) == slots


def test_less_than_the_reserve_is_nothing() -> None:
    assert slots_that_fit(Need(input=1, output=1, scratch=0), RESERVE - 1, 2) == 0
