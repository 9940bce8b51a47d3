"""``hat-deploy info``: what a file is, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from hat_deploy.cli.options import print_json


def command(
    file: Annotated[
        str, typer.Argument(help="A checkpoint, an .onnx, a .plan, or a model that ships.")
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what a checkpoint or an artifact is, and what it costs to run."""
    from hat_deploy.artifact import info
    from hat_deploy.terminal.printable import printable

    found = info.examine(file)
    if json_:
        print_json(found.to_dict())
        return
    for line in info.lines(found):
        typer.echo(printable(line))
