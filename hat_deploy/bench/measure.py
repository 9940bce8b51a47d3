"""One run: open everything, time every scope, then measure what times do not tell."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hat_deploy import machine
from hat_deploy.bench.ceiling import Ceiling, measure_ceiling
from hat_deploy.bench.contenders import Contender
from hat_deploy.bench.lineup import Lineup
from hat_deploy.bench.memory import measure_memory
from hat_deploy.bench.report import Participant, Report, Result, ScopeReport
from hat_deploy.bench.scopes import Entrant, Scope, TimedImage, make_sample, prepare, read_sample
from hat_deploy.bench.timing import Settings, alternate, ratios
from hat_deploy.terminal.progress import OnStage

Ceilings = dict[tuple[str, str], Ceiling | None]


def measure(
    lineup: Lineup,
    settings: Settings,
    *,
    scopes: Sequence[Scope] = tuple(Scope),
    threads: int | None = None,
    picture: Path | None = None,
    batches: int = 1,
    memory: bool = True,
    on_stage: OnStage = lambda stage: None,
) -> Report:
    """Measure a lineup.

    Args:
        scopes: at least one; measured from the inside out.
        threads: of every engine that runs on a CPU; by default one a core.
        picture: RGB; by default one is generated that fills a row of tiles.
        batches: full ones that the generated image takes.
        memory: also run each contender in a child process for its peak memory.
        on_stage: told what is being done.

    Raises:
        HatDeployError: a contender cannot be opened, or does not run.
    """
    load = machine.load()
    threads = threads or machine.usable_cores()
    contenders = lineup.contenders
    given = read_sample(picture) if picture else None
    on_stage("measuring the machine's ceiling")
    kinds = dict.fromkeys((c.arithmetic, c.device) for c in contenders)
    ceilings = {kind: measure_ceiling(*kind, threads) for kind in kinds}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        sample = given or make_sample(contenders[0], folder, batches)
        entrants = []
        for contender in contenders:
            on_stage(f"opening {contender.label}")
            engine = stack.enter_context(contender.open(threads))
            entrants.append(Entrant(contender=contender, engine=engine))
        names = [entrant.engine.name for entrant in entrants]
        found = []
        for scope in (scope for scope in Scope if scope in scopes):
            on_stage(f"timing: {scope.value}")
            timed = _time(scope, entrants, sample, folder, settings, lineup.baseline, ceilings)
            found.append(timed)
    return Report(
        lineup=lineup,
        participants=tuple(
            _participant(contender, name, threads, memory=memory, on_stage=on_stage)
            for contender, name in zip(contenders, names, strict=True)
        ),
        scopes=tuple(found),
        ceilings=tuple(ceiling for ceiling in ceilings.values() if ceiling),
        settings=settings,
        threads=threads,
        picture=sample.origin,
        hardware=machine.examine(),
        versions=machine.versions(),
        load=load,
    )


def _time(
    scope: Scope,
    entrants: Sequence[Entrant],
    sample: TimedImage,
    folder: Path,
    settings: Settings,
    baseline: str | None,
    ceilings: Ceilings,
) -> ScopeReport:
    prepared = {
        entrant.contender.label: prepare(scope, entrant, sample, folder) for entrant in entrants
    }
    timings = alternate({label: call for label, (call, _) in prepared.items()}, settings)
    results = []
    for contender in (entrant.contender for entrant in entrants):
        seconds = timings.seconds[contender.label]
        compared = baseline is not None and baseline != contender.label
        results.append(
            Result(
                label=contender.label,
                seconds=seconds,
                work=prepared[contender.label][1],
                scale=contender.config.scale,
                ratio=ratios(seconds, timings.seconds[baseline]) if baseline and compared else None,
                ceiling=ceilings[contender.arithmetic, contender.device],
            )
        )
    return ScopeReport(scope=scope, complete=timings.complete, results=tuple(results))


def _participant(
    contender: Contender, engine: str, threads: int, *, memory: bool, on_stage: OnStage
) -> Participant:
    peak = None
    if memory:
        on_stage(f"measuring the memory of {contender.label}")
        peak = measure_memory(contender, threads)
    return Participant(
        contender=contender,
        engine=engine,
        sha256=contender.file.sha256 if contender.file else None,
        memory=peak,
    )
