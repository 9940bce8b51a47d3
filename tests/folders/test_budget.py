from __future__ import annotations

import threading
import time

import pytest

from hat_deploy.folders.budget import Budget, Closed


def waits(budget: Budget, amount: int) -> tuple[threading.Thread, list[str]]:
    said: list[str] = []

    def ask() -> None:
        try:
            budget.reserve(amount)
            said.append("got")
        except Closed:
            said.append("closed")

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.02)
    return thread, said


def test_what_fits_is_given_at_once_and_the_rest_waits() -> None:
    budget = Budget(10, 5)
    budget.reserve(4)
    budget.reserve(6)
    thread, said = waits(budget, 1)
    assert said == []
    budget.release(4)
    thread.join(5)
    assert said == ["got"]
    assert budget.peak == 10


def test_more_than_there_is_goes_alone() -> None:
    budget = Budget(10, 5)
    budget.reserve(1)
    thread, said = waits(budget, 100)
    small, small_said = waits(budget, 1)  # behind it in the line, though it would fit
    assert said == small_said == []
    budget.release(1)
    thread.join(5)
    assert said == ["got"] and small_said == []
    budget.release(100)
    small.join(5)
    assert small_said == ["got"]


def test_places_are_counted_too() -> None:
    budget = Budget(10, 2)
    budget.reserve(0)
    budget.reserve(0)
    thread, said = waits(budget, 0)
    assert said == []
    budget.release(0)
    thread.join(5)
    assert said == ["got"]


def test_a_correction_lets_others_in() -> None:
    budget = Budget(10, 5)
    budget.reserve(10)
    thread, said = waits(budget, 5)
    budget.correct(10, 5)
    thread.join(5)
    assert said == ["got"]


def test_who_waits_is_turned_away_at_the_end() -> None:
    budget = Budget(10, 5)
    budget.reserve(10)
    threads = [waits(budget, 5) for _ in range(3)]
    budget.close()
    for thread, said in threads:
        thread.join(5)
        assert said == ["closed"]
    with pytest.raises(Closed):
        budget.reserve(0)
