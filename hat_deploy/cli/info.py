"""``hat-deploy info``: what a file is, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from hat_deploy.cli.options import AsJson, print_json


def command(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A checkpoint, an .onnx, a .plan, a hub's hf:ORG/NAME, or the name of a model "
            "that ships.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a checkpoint or an artifact is, and what it costs to run."""
    from hat_deploy.artifact import info
    from hat_deploy.terminal.printable import printable

    found = info.examine(file)
    if as_json:
        print_json(found.to_dict())
        return
    for line in info.lines(found):
        typer.echo(printable(line))
