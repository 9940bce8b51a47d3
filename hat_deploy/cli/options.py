"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hat_deploy.errors import UsageError
from hat_deploy.machine import parse_bytes as parse_bytes
from hat_deploy.networks.unstored import UNSTORED
from hat_deploy.precision import Precision

Model = Annotated[str | None, typer.Option(help="A model that ships, or a checkpoint.")]
EngineFile = Annotated[Path | None, typer.Option(help="An artifact made by 'hat-deploy export'.")]
Tile = Annotated[str | None, typer.Option(help="Tile, halo included: 256 or HEIGHTxWIDTH.")]
Halo = Annotated[int | None, typer.Option(min=0, help="Border of a tile that is dropped.")]
ConvScale = Annotated[float | None, typer.Option(help="CAB's weight, if not the published 0.01.")]
ImgRange = Annotated[
    float | None, typer.Option(help="The network's input range, if not the published 1.")
]
QkScale = Annotated[
    float | None,
    typer.Option(help="Factor on queries, if not the published 1 / sqrt(channels of a head)."),
]
Shift = Annotated[
    bool | None,
    typer.Option(
        "--shift/--no-shift",
        help="Whether every other block shifts its windows, as published. They do not where "
        "img_size was the window's side in training.",
        show_default=False,
    ),
]


class Device(StrEnum):
    """Where an engine runs."""

    CPU = "cpu"
    CUDA = "cuda"


class BackendName(StrEnum):
    """Values of ``--backend``."""

    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


class ComputeName(StrEnum):
    """Values of ``--compute``."""

    FP32 = Precision.FP32.value
    BF16 = Precision.BF16.value


Backend = Annotated[
    BackendName | None,
    typer.Option(help="What runs an .onnx; default: OpenVINO on a CPU, where it is installed."),
]
Compute = Annotated[
    ComputeName | None,
    typer.Option(help="OpenVINO's precision; bf16 is faster on CPUs that have it. Default: fp32."),
]


def given(context: typer.Context, name: str) -> str | None:
    """An option as it was written, if it was: ``--tile``, ``--no-whole``; else None.

    Args:
        context: of the running command.
        name: of its parameter.
    """
    source = context.get_parameter_source(name)
    if source is None or source.name != "COMMANDLINE":
        return None
    (parameter,) = (found for found in context.command.params if found.name == name)
    negated = context.params[name] is False and parameter.secondary_opts
    return (parameter.secondary_opts if negated else parameter.opts)[-1]


def refuse(context: typer.Context, names: Iterable[str], reason: str) -> None:
    """Refuse options that would change nothing, rather than ignore them.

    Args:
        context: of the running command.
        names: of the parameters that do not apply.
        reason: why, and what to do.

    Raises:
        UsageError: one of them was given.
    """
    asked = [option for name in names if (option := given(context, name))]
    if asked:
        verb = "does" if len(asked) == 1 else "do"
        raise UsageError(f"{', '.join(asked)} {verb} not apply: {reason}")


def artifact_named(model: str | None) -> Path | None:
    """The artifact that ``--model`` names, which is taken too; None for all else."""
    from hat_deploy.artifact import SUFFIXES

    path = None if model is None else Path(model)
    return path if path is not None and path.suffix.lower() in SUFFIXES else None


def refuse_for_artifact(context: typer.Context, path: Path | None, backend: str | None) -> None:
    """Refuse what the artifact that runs leaves no choice in.

    Args:
        context: of a command with ``--device``, ``--backend`` and ``--compute``.
        path: the artifact, or None for a checkpoint or a name.
        backend: what was asked to run it.

    Raises:
        UsageError: an option would change nothing.
    """
    suffix = "" if path is None else path.suffix.lower()
    if suffix == ".plan":
        names = ["backend", "compute", "streams"]
        if context.params.get("device") != Device.CUDA:
            names.append("device")
        known = [name for name in names if name in context.params]
        refuse(context, known, "a plan runs in TensorRT on the GPU, as it was built")
    elif backend == BackendName.ONNXRUNTIME and context.params.get("streams", 1) > 1:
        refuse(context, ["streams"], "ONNX Runtime computes one tile at a time; use openvino")


def refuse_for_made(context: typer.Context, path: Path) -> None:
    """Refuse what was settled when an artifact was made: its tile and its network's values.

    Raises:
        UsageError: an option would change nothing.
    """
    reason = f"{path} was made with its own; to change it, export the checkpoint again"
    refuse(context, ["tile", *UNSTORED], reason)


def parse_tile(text: str | None) -> tuple[int, int] | None:
    """``256`` or ``HEIGHTxWIDTH`` as (height, width).

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text.strip().lower())
    if not match:
        raise UsageError(f"--tile {text}: write one side, 256, or HEIGHTxWIDTH, 192x320")
    height = int(match[1])
    return height, int(match[2] or height)


def print_json(values: object) -> None:
    """Print JSON that every reader takes: no NaN, and no half of a character.

    A name that is not UTF-8 is written as people see it, ``a\\xff.png``.
    """
    typer.echo(json.dumps(_whole_characters(values), indent=2, allow_nan=False))


def _whole_characters(values: object) -> object:
    from hat_deploy.terminal.printable import whole_characters

    match values:
        case str():
            return whole_characters(values)
        case dict():
            return {_whole_characters(key): _whole_characters(v) for key, v in values.items()}
        case list() | tuple():
            return [_whole_characters(value) for value in values]
    return values
