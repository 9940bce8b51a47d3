"""Timing calls in turns, and what a list of times has to say. Knows nothing of engines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hat_deploy.errors import UsageError

Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long to measure one scope."""

    iterations: int = 10
    """Timed calls each contender makes at the least."""
    seconds: float = 3.0
    """Timed seconds at the least, as the average over the contenders."""
    warmup: int = 2
    """Untimed rounds before; after the first, further ones only within ``seconds``."""
    limit: float = 600.0
    """No round begins later than this after the scope began, even if that makes it too few."""
    pause: float = 0.02
    """Seconds slept before each call: threads of the previous engine, which keep spinning
    for a while after it returned, then do not slow the next one down."""

    untimed: int = 0
    """Calls right before each timed one: a GPU lowers its clocks in the pause."""

    def __post_init__(self) -> None:
        if self.untimed < 0:
            raise UsageError(f"{self.untimed} untimed calls: their number is not negative")
        if self.iterations < 1 or self.warmup < 1:
            raise UsageError(
                f"{self.iterations} iterations after {self.warmup} rounds of warm-up: "
                "at least 1 of each is needed"
            )
        if self.seconds < 0 or self.pause < 0 or self.limit <= 0:
            raise UsageError(
                f"seconds {self.seconds}, pause {self.pause} and limit {self.limit}: "
                "a time is not negative, and a limit is more than 0"
            )


@dataclass(frozen=True)
class Distribution:
    """What was measured again and again: seconds, or ratios."""

    values: tuple[float, ...]
    """In the order they were measured; at least one."""

    def quantile(self, share: float) -> float:
        """The value that ``share`` (0 to 1) of all lie below, linear between neighbours."""
        return float(np.quantile(self.values, share))

    @property
    def median(self) -> float:
        """The middle value."""
        return self.quantile(0.5)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Half of the values lie between these two."""
        return self.quantile(0.25), self.quantile(0.75)

    @property
    def spread(self) -> float:
        """The distance between the quartiles as a share of the median."""
        low, high = self.quartiles
        return (high - low) / self.median

    def to_dict(self) -> dict[str, Any]:
        """Summary and values as JSON types."""
        low, high = self.quartiles
        return {
            "median": self.median,
            "p10": self.quantile(0.10),
            "p25": low,
            "p75": high,
            "p90": self.quantile(0.90),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
            "spread": self.spread,
            "count": len(self.values),
            "values": list(self.values),
        }


@dataclass(frozen=True)
class Timings:
    """One scope, measured."""

    seconds: Mapping[str, Distribution]
    """By contender; all have as many values, and the n-th ones were taken side by side."""
    complete: bool
    """Whether the settings' iterations and seconds were reached within the limit."""


def alternate(
    calls: Mapping[str, Call],
    settings: Settings,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Timings:
    """Time several calls in turns: A B A B, never A A B B.

    Args:
        calls: by contender; a call returns when its work is done.
        clock, sleep: to be replaced in tests.
    """
    started = clock()
    _warm_up(calls, settings, clock)
    taken: dict[str, list[float]] = {label: [] for label in calls}
    while True:
        for label, call in calls.items():
            sleep(settings.pause)
            for _ in range(settings.untimed):
                call()
            begun = clock()
            call()
            taken[label].append(clock() - begun)
        complete = _enough(taken, settings)
        if complete or clock() - started >= settings.limit:
            break
    series = {label: Distribution(tuple(values)) for label, values in taken.items()}
    return Timings(series, complete)


def ratios(seconds: Distribution, baseline: Distribution) -> Distribution:
    """How many times as long as the baseline, round by round."""
    pairs = zip(seconds.values, baseline.values, strict=True)
    return Distribution(tuple(mine / other for mine, other in pairs))


def _warm_up(calls: Mapping[str, Call], settings: Settings, clock: Callable[[], float]) -> None:
    started = clock()
    for _ in range(settings.warmup):
        for call in calls.values():
            call()
        if clock() - started >= settings.seconds:
            return


def _enough(taken: Mapping[str, list[float]], settings: Settings) -> bool:
    rounds = min(len(values) for values in taken.values())
    total = sum(sum(values) for values in taken.values())
    return rounds >= settings.iterations and total >= settings.seconds * len(taken)
