"""What one run of ``bench`` found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hat_deploy.bench.ceiling import Ceiling
from hat_deploy.bench.contenders import Contender
from hat_deploy.bench.lineup import Lineup
from hat_deploy.bench.memory import PeakMemory
from hat_deploy.bench.scopes import Scope, Work
from hat_deploy.bench.timing import Distribution, Settings
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.machine import Hardware

LARGEST_SPREAD = 0.05
"""Beyond this distance between the quartiles, as a share of the median, a figure is flagged."""
FEWEST_ITERATIONS = 10
"""Fewer are flagged even where fewer were asked for."""
LOADED = 0.5
"""Load average for each core beyond which the machine was not quiet."""


@dataclass(frozen=True, kw_only=True)
class Participant:
    """A contender as it ran."""

    contender: Contender
    engine: str
    """The engine's own name: library, version, device, precision."""
    sha256: str | None
    """Of the artifact or checkpoint."""
    memory: PeakMemory | None
    """None if it was not measured."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        contender = self.contender
        return {
            "label": contender.label,
            "engine": self.engine,
            "file": None if contender.file is None else str(contender.file.path),
            "sha256": self.sha256,
            "precision": contender.precision,
            "device": contender.device,
            "tile": list(contender.tile),
            "batch": contender.batch,
            "halo": contender.halo,
            "config": contender.config.to_dict(),
            "memory": None if self.memory is None else asdict(self.memory),
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """One contender in one scope."""

    label: str
    seconds: Distribution
    """Of one call."""
    work: Work
    scale: int
    ratio: Distribution | None
    """Its seconds over the baseline's, pair by pair; None for the baseline itself."""
    ceiling: Ceiling | None

    @property
    def tiles_per_second(self) -> float:
        """At the median, as all rates."""
        return self.work.tiles / self.seconds.median

    @property
    def input_megapixels_per_second(self) -> float:
        """Millions of LR pixels."""
        return self.work.pixels / 1e6 / self.seconds.median

    @property
    def output_megapixels_per_second(self) -> float:
        """Millions of pixels of the result."""
        return self.input_megapixels_per_second * self.scale**2

    @property
    def flops(self) -> float:
        """Floating-point operations a second, two for each multi-add of the cost model."""
        return 2 * self.work.multi_adds / self.seconds.median

    @property
    def ceiling_share(self) -> float | None:
        """``flops`` over the rate of a matrix product in the same precision and run."""
        return None if self.ceiling is None else self.flops / self.ceiling.flops

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "label": self.label,
            "seconds": self.seconds.to_dict(),
            "work": asdict(self.work),
            "tiles_per_second": self.tiles_per_second,
            "input_megapixels_per_second": self.input_megapixels_per_second,
            "output_megapixels_per_second": self.output_megapixels_per_second,
            "flops": self.flops,
            "ceiling_share": self.ceiling_share,
            "ratio": None if self.ratio is None else self.ratio.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class ScopeReport:
    """All contenders in one scope."""

    scope: Scope
    complete: bool
    """Whether the asked iterations and seconds were reached."""
    results: tuple[Result, ...]

    def of(self, label: str) -> Result:
        """One contender's."""
        return next(result for result in self.results if result.label == label)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run."""

    lineup: Lineup
    participants: tuple[Participant, ...]
    scopes: tuple[ScopeReport, ...]
    ceilings: tuple[Ceiling, ...]
    settings: Settings
    threads: int
    """Of every engine that runs on a CPU."""
    picture: str
    hardware: Hardware
    versions: Mapping[str, str]
    load: float | None
    """Load average of the minute before."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Why not to trust a figure; empty when nothing speaks against them."""
        return tuple(_flags(self))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; all times are in seconds, memory in bytes."""
        return {
            "baseline": self.lineup.baseline,
            "subject": self.lineup.subject,
            "notes": list(self.lineup.notes),
            "flags": list(self.flags),
            "hardware": self.hardware.to_dict() | {"load": self.load},
            "versions": dict(self.versions),
            "settings": asdict(self.settings) | {"threads": self.threads},
            "picture": self.picture,
            "contenders": [participant.to_dict() for participant in self.participants],
            "ceilings": [asdict(ceiling) for ceiling in self.ceilings],
            "scopes": [
                {
                    "scope": scope.scope.value,
                    "complete": scope.complete,
                    "results": [result.to_dict() for result in scope.results],
                }
                for scope in self.scopes
            ],
        }


def require_ratio(report: Report, limit: float) -> None:
    """Hold the subject to a limit, in the innermost scope that was measured.

    Raises:
        UsageError: there is nothing to compare with, or no single subject.
        CheckFailed: at the median, it takes more than ``limit`` times as long as the baseline.
    """
    subject = report.lineup.subject
    if subject is None or report.lineup.baseline is None:
        raise UsageError("--max-ratio needs --engine and something to compare it with")
    scope = report.scopes[0]
    ratio = scope.of(subject).ratio
    assert ratio is not None
    if ratio.median > limit:
        raise CheckFailed(
            f"the engine takes {ratio.median:.3f} times as long as the {report.lineup.baseline} "
            f"({scope.scope.value}), more than the {limit:g} allowed"
        )


def _flags(report: Report) -> Iterator[str]:
    """All that speaks against its figures."""
    yield from _machine_flags(report)
    yield from _pairing_flags(report)
    yield from _timing_flags(report)


def _machine_flags(report: Report) -> Iterator[str]:
    cores = report.hardware.cores
    if report.load is not None and report.load > LOADED * cores:
        yield (
            f"the machine was not quiet: load average {report.load:.1f} on {cores} cores "
            "when the run began"
        )
    if report.threads > cores:
        yield f"{report.threads} threads on {cores} cores"


def _pairing_flags(report: Report) -> Iterator[str]:
    """Comparisons of unlike things."""
    by_label = {p.contender.label: p.contender for p in report.participants}
    if report.lineup.baseline is None:
        return
    baseline = by_label[report.lineup.baseline]
    for label, contender in by_label.items():
        pair = f"{label} against {baseline.label}"
        if contender.precision != baseline.precision:
            yield (
                f"{pair}: different precisions compared "
                f"({contender.precision} and {baseline.precision})"
            )
        if contender.device != baseline.device:
            yield f"{pair}: different devices compared ({contender.device}, {baseline.device})"
        if contender.config != baseline.config:
            yield f"{pair}: different networks compared"
        shapes = [(c.batch, *c.tile, c.halo) for c in (contender, baseline)]
        if shapes[0] != shapes[1]:
            yield (
                f"{pair}: different shapes compared (batch, height, width, halo: "
                f"{shapes[0]} and {shapes[1]}); the ratio of engine calls means little"
            )


def _timing_flags(report: Report) -> Iterator[str]:
    settings = report.settings
    for scope in report.scopes:
        count = len(scope.results[0].seconds.values)
        if not scope.complete:
            yield (
                f"{scope.scope.value}: stopped after {count} iterations by the limit of "
                f"{settings.limit:g} s ({settings.iterations} iterations and "
                f"{settings.seconds:g} s were asked for)"
            )
        elif count < FEWEST_ITERATIONS:
            yield f"{scope.scope.value}: only {count} iterations"
        if wide := list(_wide(scope.results)):
            yield (
                f"{scope.scope.value}: quartiles further apart than {LARGEST_SPREAD:.0%} of the "
                f"median: {', '.join(wide)}"
            )
        for result in scope.results:
            if result.ceiling_share is not None and result.ceiling_share > 1:
                yield (
                    f"{scope.scope.value}: {result.label} is faster than the measured ceiling "
                    f"({result.ceiling_share:.0%}), which was measured too low"
                )


def _wide(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if result.seconds.spread > LARGEST_SPREAD:
            yield f"{result.label} times {result.seconds.spread:.0%}"
        if result.ratio is not None and result.ratio.spread > LARGEST_SPREAD:
            yield f"{result.label} ratios {result.ratio.spread:.0%}"
