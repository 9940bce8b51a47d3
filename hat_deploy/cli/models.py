"""``hat-deploy models``: what ships."""

from __future__ import annotations

import typer


def command() -> None:
    """List the models that ship."""
    from hat_deploy.artifact import zoo
    from hat_deploy.geometry import tile_size

    for model in zoo.shipped():
        described = model.artifact.description
        tile = tile_size(described.tile)
        typer.echo(f"{model.name}  x{described.scale}, tile {tile}, {model.folder}")
        typer.echo(f"    {model.summary}")
