"""``hat-deploy models``: what ships."""

from __future__ import annotations

import typer


def command() -> None:
    """List the models that ship."""
    from hat_deploy import artifact, zoo

    for model in zoo.shipped():
        described = artifact.describe(model.onnx)
        height, width = described.tile
        typer.echo(f"{model.name}  x{described.scale}, tile {height}x{width}, {model.folder}")
        typer.echo(f"    {model.summary}")
