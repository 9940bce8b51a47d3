"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hat_deploy.cli import environment
from hat_deploy.errors import UsageError
from hat_deploy.machine import parse_bytes as parse_bytes
from hat_deploy.networks.unstored import UNSTORED
from hat_deploy.precision import Precision

Model = Annotated[
    str | None,
    typer.Option(
        envvar=environment.MODEL,
        metavar="NAME|FILE",
        help="The model to use: a name that 'hat-deploy models' lists, or a checkpoint or a hub's "
        "hf:ORG/NAME, which is exported once into the cache.",
    ),
]
EngineFile = Annotated[
    Path | None,
    typer.Option(
        envvar=environment.ENGINE,
        metavar="FILE",
        help="The artifact to use: an .onnx or .plan that 'hat-deploy export' made.",
    ),
]
Halo = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="PIXELS",
        help="The border of each tile that is computed and then dropped, in pixels. Default: the "
        "artifact's own.",
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Make tiles equal to the whole image: the first pass over an image collects the "
        "averages that channel attention takes, and the next one uses them, for twice the time. "
        "An artifact must have been exported with --exact.",
    ),
]
Passes = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="COUNT",
        help="With an artifact exported with --exact: the number of passes over an image, at most; "
        "they end early when averages no longer change. Default: 2.",
    ),
]
ConvScale = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="The weight of channel attention beside window attention; no checkpoint stores it. "
        "Default: that of a config.json beside the checkpoint, else 0.01.",
    ),
]
ImgRange = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="The range of values that the network was trained on, such as 1 or 255; no "
        "checkpoint stores it. Default: that of a config.json beside the checkpoint, else 1.",
    ),
]
QkScale = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="The factor on attention queries; no checkpoint stores it. Default: that of a "
        "config.json beside the checkpoint, else 1 / sqrt(channels of a head).",
    ),
]
Shift = Annotated[
    bool | None,
    typer.Option(
        "--shift/--no-shift",
        help="Whether every other block shifts its windows; no checkpoint stores it. Networks "
        "trained with an img_size equal to the window need --no-shift. Default: that of a "
        "config.json beside the checkpoint, else --shift.",
        show_default=False,
    ),
]
Random = Annotated[
    int,
    typer.Option(min=0, metavar="COUNT", help="Also use this many images of seeded random noise."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of text.")]


class Device(StrEnum):
    """Where an engine runs."""

    CPU = "cpu"
    CUDA = "cuda"


class BackendName(StrEnum):
    """Values of ``--backend``."""

    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


class PrecisionName(StrEnum):
    """Values of ``upscale --precision``."""

    FP32 = Precision.FP32.value
    FP16 = Precision.FP16.value
    BF16 = Precision.BF16.value
    FP16_PURE = Precision.FP16_PURE.value


class ComputeName(StrEnum):
    """Values of ``--compute``."""

    FP32 = Precision.FP32.value
    BF16 = Precision.BF16.value


def named_device(text: str) -> Device:
    """``cpu`` or ``cuda``; with ``cuda:1`` that GPU becomes the only one.

    Raises:
        UsageError: it is none of these, or there is no such GPU.
    """
    from hat_deploy.engines.cuda.visible import settle

    return Device(settle(text))


def named_devices(text: str) -> str:
    """One device or several, as :class:`hat_deploy.Upscaler` takes them; GPUs that were named
    become the only ones.

    Raises:
        UsageError: there are no such devices.
    """
    from hat_deploy.engines.cuda.visible import settle_all

    return settle_all(text).text


DEVICES = "[cpu|cuda|cuda:N]"
DeviceOption = Annotated[
    Device,
    typer.Option(
        envvar=environment.DEVICE,
        parser=named_device,
        metavar=DEVICES,
        help="Run on the CPU, or on an NVIDIA GPU: cuda takes the first, cuda:1 the second.",
    ),
]
DevicesOption = Annotated[
    str,
    typer.Option(
        envvar=environment.DEVICE,
        parser=named_devices,
        metavar="[cpu|cuda|cuda:N|cuda:all|LIST]",
        help="Run on the CPU, or on NVIDIA GPUs: cuda takes the first, cuda:1 the second, cuda:all "
        "all of them and cuda:0,cuda:2 those two. cpu,cpu divides the cores between two engines.",
    ),
]
Backend = Annotated[
    BackendName | None,
    typer.Option(
        help="The library that runs an .onnx. Default: OpenVINO on a CPU where it is installed, "
        "else ONNX Runtime."
    ),
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(
        help="With --model: the precision that a checkpoint is exported in, once its proof holds. "
        "Default: fp32 on a CPU; on a GPU fp16 where its proof holds, else fp32.",
    ),
]
Compute = Annotated[
    ComputeName | None,
    typer.Option(
        help="The precision that OpenVINO computes in; bf16 is faster on CPUs that support it. "
        "Default: bf16 for an artifact exported in bf16, else fp32."
    ),
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
    from hat_deploy.artifact import resolve

    found = None if model is None else resolve.artifact_named(model)
    return None if found is None else found.path


def one_model(
    context: typer.Context, model: str | None, engine: Path | None
) -> tuple[str | None, Path | None]:
    """``--model`` or ``--engine``, or neither; the command line goes before the environment.

    Raises:
        UsageError: both were given in one place.
    """
    if model is None or engine is None:
        return model, engine
    aside = [name for name in ("model", "engine") if environment.from_environment(context, name)]
    if len(aside) != 1:
        raise UsageError("--model and --engine cannot be used together: give one of them")
    return (None, engine) if aside == ["model"] else (model, None)


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
        names = ["backend", "compute", "streams", "retry_wider"]
        if not str(context.params.get("device")).startswith(Device.CUDA):
            names.append("device")
        known = [name for name in names if name in context.params]
        refuse(context, known, "a plan runs in TensorRT on the GPU, as it was built")
    elif backend == BackendName.ONNXRUNTIME and context.params.get("streams", 1) > 1:
        refuse(context, ["streams"], "ONNX Runtime computes one tile at a time; use openvino")


def refuse_for_made(context: typer.Context, path: Path) -> None:
    """Refuse what was settled when an artifact was made: its tile, its precision and its network's
    values.

    One of any size can be given another tile.

    Raises:
        UsageError: an option would change nothing.
    """
    reason = f"{path} was made with its own value; export the checkpoint again to change it"
    refuse(context, ["batch", "precision", *UNSTORED], reason)
    if given(context, "tile") and not _runs_at_any_size(path):
        refuse(context, ["tile"], reason)


def _runs_at_any_size(path: Path) -> bool:
    from hat_deploy.artifact import describe
    from hat_deploy.errors import ArtifactError

    try:
        return describe(path).any_size
    except ArtifactError:  # said when it is opened
        return False


def parse_tile(text: str | None) -> tuple[int, int] | None:
    """``256`` or ``HEIGHTxWIDTH`` as (height, width).

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text.strip().lower())
    if not match:
        raise UsageError(
            f"--tile {text}: give one side, such as 256, or HEIGHTxWIDTH, such as 192x320"
        )
    height = int(match[1])
    return height, int(match[2] or height)


def parse_age(option: str, text: str | None) -> float | None:
    """``12h``, ``30d`` or ``8w`` as seconds.

    Raises:
        UsageError: it is none of them.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([hdw])", text.strip().lower())
    if not match:
        raise UsageError(f"{option} {text}: give hours, days or weeks, such as 12h, 30d or 8w")
    return int(match[1]) * {"h": 1, "d": 24, "w": 7 * 24}[match[2]] * 3600.0


def parse_colour(option: str, text: str | None) -> tuple[int, int, int] | None:
    """``white``, ``black`` or ``#rrggbb`` as red, green and blue, 0 to 255.

    Raises:
        UsageError: it is none of them.
    """
    if text is None:
        return None
    named = {"white": "#ffffff", "black": "#000000"}.get(text.strip().lower(), text.strip())
    match = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", named)
    if not match:
        raise UsageError(f"{option} {text}: give white, black or a colour as #rrggbb")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue


def log_to_stderr() -> None:
    """Show what the program says to Python's logging, from level INFO on, on standard error."""
    import logging

    from hat_deploy.terminal.printable import printable

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    handler = logging.StreamHandler()
    handler.setFormatter(Lines("%(message)s"))
    ours = logging.getLogger("hat_deploy")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)


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
