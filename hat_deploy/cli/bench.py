"""``hat-deploy bench``: latency beside the reference, in one run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.artifact import zoo
from hat_deploy.cli import outputs
from hat_deploy.cli.options import (
    Backend,
    Compute,
    Device,
    print_json,
    refuse,
    refuse_for_artifact,
)
from hat_deploy.errors import UsageError
from hat_deploy.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hat_deploy.bench.lineup import Lineup


class ScopeName(StrEnum):
    """Values of ``--scope``."""

    CALL = "call"
    TILES = "tiles"
    FILE = "file"


class ReferencePrecision(StrEnum):
    """Values of ``--reference-precision``."""

    FP32 = Precision.FP32.value
    FP16 = Precision.FP16.value
    BF16 = Precision.BF16.value


def command(
    context: typer.Context,
    engine: Annotated[
        Path | None,
        typer.Option(help="Artifact to time; without it, every engine here on a shipped model."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Checkpoint it was made from; default: its shape, seeded weights."),
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Another artifact; may be repeated.")
    ] = None,
    no_reference: Annotated[
        bool, typer.Option("--no-reference", help="Leave the PyTorch reference out.")
    ] = False,
    reference_precision: Annotated[
        ReferencePrecision, typer.Option(help="What the reference computes in.")
    ] = ReferencePrecision.FP32,
    model: Annotated[
        str | None, typer.Option(help="Without --engine: the shipped model to use.")
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Where --engine runs, and its reference.")
    ] = Device.CPU,
    backend: Backend = None,
    compute: Compute = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of every engine on a CPU; default: one a core.")
    ] = None,
    halo: Annotated[
        int | None, typer.Option(min=0, help="Halo of the tile loop; default: the artifact's.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="An RGB picture; default: one that fills a row of tiles.")
    ] = None,
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(help="call, tiles or file; may be repeated. Default: all three."),
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Timed calls at the least.")] = 10,
    seconds: Annotated[float, typer.Option(min=0, help="Timed seconds at the least.")] = 3.0,
    warmup: Annotated[int, typer.Option(min=1, help="Untimed rounds at the most.")] = 2,
    limit: Annotated[
        float, typer.Option(min=1, help="No round begins later in a scope than this, in seconds.")
    ] = 600.0,
    memory: Annotated[
        bool, typer.Option(help="Peak memory, each engine in a process of its own.")
    ] = True,
    max_ratio: Annotated[
        float | None,
        typer.Option(help="Fail if the engine takes more than this times the reference's time."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the distributions to this .png.")] = None,
) -> None:
    """Time an engine beside the PyTorch reference, in turns, and beside the machine's ceiling."""
    if plot is not None and plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {plot}: a plot is a .png")
    if max_ratio is not None and engine is None:
        raise UsageError("--max-ratio is about --engine: give both")
    _refuse_ignored(context, engine, no_reference=no_reference, scopes=scope or ())
    refuse_for_artifact(context, engine, backend)
    read = [engine, reference, *(against or ()), picture, model]
    outputs.check({"--plot": plot}, [*read, None if engine else zoo.DEFAULT])

    from hat_deploy.bench import lineup, measure, report, scopes, timing
    from hat_deploy.terminal.screen import status

    settings = timing.Settings(iterations=iterations, seconds=seconds, warmup=warmup, limit=limit)
    chosen: Lineup
    if engine is None:
        chosen = lineup.for_machine(model, halo=halo)
    else:
        chosen = lineup.for_engine(
            engine,
            reference=reference,
            against=against or (),
            with_reference=not no_reference,
            reference_precision=reference_precision.value,
            device=device.value,
            backend=backend,
            compute=compute,
            halo=halo,
        )
    if max_ratio is not None and chosen.baseline is None:
        raise UsageError("--max-ratio needs a reference, or --against, to compare with")
    with status() as say:
        found = measure.measure(
            chosen,
            settings,
            scopes=[scopes.Scope[name.name] for name in scope or ScopeName],
            threads=threads,
            picture=picture,
            memory=memory,
            on_stage=lambda stage: say(f"{stage} ..."),
        )
    if json_:
        print_json(found.to_dict())
    else:
        from hat_deploy.bench.table import show

        show(found)
    if plot is not None:
        from hat_deploy.bench.plot import save

        save(found, plot)
    if max_ratio is not None:
        report.require_ratio(found, max_ratio)


ABOUT_ENGINE = (
    "reference",
    "reference_precision",
    "against",
    "no_reference",
    "device",
    "backend",
    "compute",
)
"""Options that go with ``--engine``."""


def _refuse_ignored(
    context: typer.Context,
    engine: Path | None,
    *,
    no_reference: bool,
    scopes: Sequence[ScopeName],
) -> None:
    """Refuse options that would change nothing in the comparison that was asked for."""
    if engine is None:
        refuse(
            context,
            ABOUT_ENGINE,
            "without --engine every engine here runs a model that ships; give --engine FILE",
        )
    else:
        refuse(context, ["model"], "--engine says what is timed; leave one of them out")
    if no_reference:
        refuse(context, ["reference_precision"], "--no-reference leaves the reference out")
