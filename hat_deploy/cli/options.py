"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hat_deploy.amounts import parse_bytes as parse_bytes
from hat_deploy.errors import UsageError

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

    FP32 = "fp32"
    BF16 = "bf16"


Backend = Annotated[
    BackendName | None,
    typer.Option(help="What runs an .onnx; default: OpenVINO on a CPU, where it is installed."),
]
Compute = Annotated[
    ComputeName | None,
    typer.Option(help="OpenVINO's precision; bf16 is faster on CPUs that have it. Default: fp32."),
]


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
