"""A report as tables for people; the one module that knows ``rich``."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from hat_deploy.bench.memory import PeakMemory
from hat_deploy.bench.report import Participant, Report, Result, ScopeReport
from hat_deploy.geometry import tile_size
from hat_deploy.terminal.screen import SafeConsole

QUANTITIES = (
    "median ms",
    "p90",
    "p95",
    "p99",
    "tiles/s",
    "LR MP/s",
    "output MP/s",
    "ratio (quartiles)",
    "of ceiling",
)
"""What :func:`cells` gives."""
_WIDTH = 110
"""Columns of text where the output is no terminal."""


def show(report: Report, console: Console | None = None) -> None:
    """Print machine, contenders, a table a scope, notes and flags."""
    if console is None:
        console = SafeConsole()
        if not console.is_terminal:
            console = SafeConsole(width=_WIDTH)
    for line in header(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for scope in report.scopes:
        console.print(_table(scope), highlight=False)
    for line in footer(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def header(report: Report) -> Iterator[str]:
    """What was measured, and on what."""
    hardware, settings = report.hardware, report.settings
    gpus = "".join(f", {gpu.name} (driver {gpu.driver})" for gpu in hardware.gpus)
    load = "unknown" if report.load is None else f"{report.load:.2f}"
    yield f"{hardware.cpu}, {hardware.cores} cores{gpus}; load average {load} at the start"
    yield (
        f"{report.threads} threads for every engine on the CPU; in turns; at least "
        f"{settings.iterations} iterations and {settings.seconds:g} s each; picture: "
        f"{report.picture}"
    )
    for ceiling in report.ceilings:
        yield (
            f"ceiling: {ceiling.flops / 1e9:,.0f} GFLOP/s, {ceiling.precision} product of "
            f"{ceiling.side}x{ceiling.side} matrices on {ceiling.device}, {ceiling.library}"
        )
    known = {(ceiling.precision, ceiling.device) for ceiling in report.ceilings}
    asked = dict.fromkeys((p.contender.arithmetic, p.contender.device) for p in report.participants)
    for precision, device in (kind for kind in asked if kind not in known):
        yield f"ceiling: not known for {precision} on {device}; measuring it takes PyTorch"
    for participant in report.participants:
        yield _described(participant)


def footer(report: Report) -> Iterator[str]:
    """What to know before believing it."""
    if report.lineup.baseline:
        yield (
            f"ratio: time over that of the {report.lineup.baseline}, pair by pair; "
            "below 1 is faster"
        )
    for note in report.lineup.notes:
        yield f"note: {note}"
    flags = report.flags
    for flag in flags:
        yield f"flag: {flag}"
    if not flags:
        yield "no flags: nothing found that speaks against these figures"


def _described(participant: Participant) -> str:
    contender = participant.contender
    source = "seeded random weights"
    if contender.file is not None:
        source = f"{contender.file.path}, sha256 {(participant.sha256 or '')[:12]}"
    return (
        f"{contender.label}: {participant.engine}; {contender.config.variant} "
        f"x{contender.config.scale}, tile {tile_size(contender.tile)}, batch {contender.batch}, "
        f"halo {contender.halo}; {source}{_memory(participant.memory)}"
    )


def _memory(memory: PeakMemory | None) -> str:
    if memory is None:
        return "; peak memory not measured"
    parts = []
    if memory.host_peak is not None and memory.host_before is not None:
        parts.append(
            f"peak memory of a process of its own {memory.host_peak / 1e6:,.0f} MB, "
            f"{memory.host_before / 1e6:,.0f} MB of it before loading"
        )
    if memory.device is not None:
        parts.append(f"{memory.device / 1e6:,.0f} MB on the GPU")
    return "; " + (", ".join(parts) or "peak memory: this system does not tell")


def _table(scope: ScopeReport) -> Table:
    """A column a contender, which fits a narrow terminal."""
    count = len(scope.results[0].seconds.values)
    table = Table(
        title=f"{scope.scope.value}, {count} iterations",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("", no_wrap=True)
    for result in scope.results:
        table.add_column(result.label, justify="right")
    columns = [cells(result) for result in scope.results]
    for name, *row in zip(QUANTITIES, *columns, strict=True):
        table.add_row(name, *row)
    return table


def cells(result: Result) -> list[str]:
    """One contender's quantities, as text."""
    seconds, ratio, share = result.seconds, result.ratio, result.ceiling_share
    times = [seconds.quantile(q) * 1e3 for q in (0.5, 0.9, 0.95, 0.99)]
    rates = [
        result.tiles_per_second,
        result.input_megapixels_per_second,
        result.output_megapixels_per_second,
    ]
    compared = "-"
    if ratio is not None:
        low, high = ratio.quartiles
        compared = f"{ratio.median:.3f} ({low:.3f}-{high:.3f})"
    of_ceiling = "unknown" if share is None else f"{share:.1%}"
    return [*map(_number, [*times, *rates]), compared, of_ceiling]


def _number(value: float) -> str:
    """Four digits, or all those before the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
