"""What makes the figures of a run untrustworthy, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hat_deploy.bench.report import Report, Result

LARGEST_SPREAD = 0.05
"""Beyond this distance between the quartiles, as a share of the median, a figure is flagged."""
FEWEST_ITERATIONS = 10
"""Fewer are flagged even where fewer were asked for."""
LOADED = 0.5
"""Load average for each core beyond which the machine was not quiet."""


def of(report: Report) -> Iterator[str]:
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
