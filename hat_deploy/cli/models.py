"""``hat-deploy models``: what ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hat_deploy.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from hat_deploy.artifact.zoo import ShippedModel


def command(as_json: AsJson = False) -> None:
    """List the models that ship."""
    from hat_deploy.artifact import zoo
    from hat_deploy.geometry import tile_size

    if as_json:
        print_json([_told(model) for model in zoo.shipped()])
        return
    for model in zoo.shipped():
        described = model.artifact.description
        tile = tile_size(described.tile)
        typer.echo(f"{model.name}  x{described.scale}, tile {tile}, {model.folder}")
        typer.echo(f"    {model.summary}")


def _told(model: ShippedModel) -> dict[str, object]:
    described = model.artifact.description
    return {
        "name": model.name,
        "scale": described.scale,
        "tile": list(described.tile),
        "folder": str(model.folder),
        "summary": model.summary,
    }
