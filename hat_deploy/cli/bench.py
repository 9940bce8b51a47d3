"""``hat-deploy bench``: latency beside the reference, in one run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hat_deploy.artifact import zoo
from hat_deploy.cli import environment, outputs
from hat_deploy.cli.options import (
    DEVICES,
    AsJson,
    Backend,
    Compute,
    Device,
    Halo,
    named_device,
    print_json,
    refuse,
    refuse_for_artifact,
)
from hat_deploy.errors import UsageError
from hat_deploy.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hat_deploy.bench.lineup import Lineup
    from hat_deploy.bench.report import Report
    from hat_deploy.bench.timing import Settings


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
        typer.Option(
            metavar="FILE",
            help="The artifact to time. Without it, every engine of this machine runs a model "
            "that ships.",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The checkpoint that --engine was made from. Default: a network of the same "
            "shape with random weights.",
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Another artifact to time beside --engine; may be repeated."
        ),
    ] = None,
    no_reference: Annotated[
        bool, typer.Option("--no-reference", help="Leave the PyTorch reference out.")
    ] = False,
    reference_precision: Annotated[
        ReferencePrecision,
        typer.Option(help="The precision that the PyTorch reference computes in."),
    ] = ReferencePrecision.FP32,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The name of the shipped model to run, if --engine is not given."
        ),
    ] = None,
    device: Annotated[
        Device,
        typer.Option(
            envvar=environment.DEVICE,
            parser=named_device,
            metavar=DEVICES,
            help="Run --engine and its reference on the CPU, or on an NVIDIA GPU: cuda takes the "
            "first, cuda:1 the second.",
        ),
    ] = Device.CPU,
    backend: Backend = None,
    compute: Compute = None,
    threads: Annotated[
        int | None,
        typer.Option(
            envvar=environment.THREADS,
            min=1,
            metavar="COUNT",
            help="The number of threads of each engine on a CPU. Default: one for each core.",
        ),
    ] = None,
    halo: Halo = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The RGB image to time whole images with. Default: one made to fill a row of "
            "tiles.",
        ),
    ] = None,
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(
            help="What to time: call (one batch of tiles), tiles (an array), file (reading and "
            "writing too); may be repeated. Default: all three."
        ),
    ] = None,
    iterations: Annotated[
        int,
        typer.Option(min=1, metavar="COUNT", help="Time at least this many calls of each engine."),
    ] = 10,
    seconds: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Time each engine for at least this many seconds."
        ),
    ] = 3.0,
    warmup: Annotated[
        int,
        typer.Option(min=1, metavar="COUNT", help="Run at most this many rounds untimed first."),
    ] = 2,
    limit: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Begin no further round of a scope after this many seconds.",
        ),
    ] = 600.0,
    memory: Annotated[
        bool,
        typer.Option(help="Whether to measure peak memory, each engine in a process of its own."),
    ] = True,
    max_ratio: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Exit with 1 if --engine takes more than this many times as long as the "
            "reference.",
        ),
    ] = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the distributions to this .svg file."),
    ] = None,
) -> None:
    """Time an engine beside the PyTorch reference, in turns, and beside the machine's ceiling."""
    if plot is not None:
        from hat_deploy.bench.plot import check_path

        check_path(plot)
    if max_ratio is not None and engine is None:
        raise UsageError("--max-ratio compares --engine with its reference: give --engine too")
    _refuse_ignored(context, engine, no_reference=no_reference)
    refuse_for_artifact(context, engine, backend)
    read = [engine, reference, *(against or ()), image, model]
    outputs.check({"--plot": plot}, [*read, None if engine else zoo.DEFAULT])

    from hat_deploy.bench import lineup, report, timing

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
    found = _measure(chosen, settings, scope or ScopeName, threads, image, memory=memory)
    _show(found, plot, as_json=as_json)
    if max_ratio is not None:
        report.require_ratio(found, max_ratio)


def _measure(
    chosen: Lineup,
    settings: Settings,
    scope: Iterable[ScopeName],
    threads: int | None,
    image: Path | None,
    *,
    memory: bool,
) -> Report:
    from hat_deploy.bench import measure, scopes
    from hat_deploy.terminal.screen import status

    with status() as say:
        return measure.measure(
            chosen,
            settings,
            scopes=[scopes.Scope[name.name] for name in scope],
            threads=threads,
            picture=image,
            memory=memory,
            on_stage=lambda stage: say(f"{stage} ..."),
        )


def _show(found: Report, plot: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
    else:
        from hat_deploy.bench.table import show

        show(found)
    if plot is not None:
        from hat_deploy.bench.plot import save

        save(found, plot)


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


def _refuse_ignored(context: typer.Context, engine: Path | None, *, no_reference: bool) -> None:
    """Refuse options that would change nothing in the comparison that was asked for."""
    if engine is None:
        refuse(
            context,
            ABOUT_ENGINE,
            "without --engine, every engine of this machine runs a model that ships; give "
            "--engine FILE",
        )
    else:
        refuse(context, ["model"], "--engine says what is timed; leave one of them out")
    if no_reference:
        refuse(context, ["reference_precision"], "--no-reference leaves the reference out")
