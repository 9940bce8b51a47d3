"""An upscaler that would have to be made first, as far as a dry run needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from hat_deploy import artifact
from hat_deploy.export import on_demand
from hat_deploy.export.recipe import Recipe
from hat_deploy.folders.auto_tile import network_of
from hat_deploy.geometry import check_tile, default_halo, default_tile, format_size, grid
from hat_deploy.networks import Shape
from hat_deploy.networks.unstored import Unstored


class Unmade:
    """What is known of a model before it is exported: all but what its artifact is called.

    Args:
        recipe: how it would be made.
        shape: of the network.
        halo: as asked for; None takes the default.
        compute: as asked for.

    Raises:
        UsageError: tile or halo do not fit the network.
    """

    def __init__(
        self, recipe: Recipe, shape: Shape, *, halo: int | None, compute: str | None
    ) -> None:
        self._window = shape.window
        self._tile = recipe.tile or default_tile(self._window)
        self._halo = default_halo(self._tile, self._window) if halo is None else halo
        check_tile(self._tile, self._halo, self._window)
        self._recipe = recipe
        self.scale = shape.scale
        self.settings: Mapping[str, Any] = {
            "checkpoint": artifact.sha256(recipe.checkpoint),
            "tile": list(self._tile),
            "halo": self._halo,
            "compute": compute if compute != recipe.precisions[-1] else None,
        }

    @property
    def name(self) -> str:
        """For the summary."""
        return f"{self._recipe.name}, not exported yet"

    @property
    def sentence(self) -> str:
        """What would be made, for people."""
        what = "a TensorRT plan" if self._recipe.target else "an .onnx"
        precision = " or, failing its proof, ".join(self._recipe.precisions)
        return (
            f"{self._recipe.name} would be exported first, once: {what} in {precision}, "
            f"tile {format_size(self._tile)}, batch {self._recipe.batch}, kept in the cache"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tiles(self, height: int, width: int) -> int:
        """Tiles of one colour image of this size."""
        return len(grid((height, width), self._tile, self._halo, self._window).tiles)


def unmade(
    model: str,
    *,
    tile: tuple[int, int] | None,
    batch: int,
    halo: int | None,
    device: str,
    compute: str | None,
    conv_scale: float | None = None,
    img_range: float | None = None,
    qk_scale: float | None = None,
    shift: bool | None = None,
    **_: object,
) -> Unmade | None:
    """What stands for an upscaler of these arguments until it is made; None if it is.

    Arguments as for :class:`hat_deploy.api.Upscaler`.

    Raises:
        HatDeployError: there is no such model, or it cannot be read; see the subclasses.
    """
    io = "uint8" if device == "cuda" else "float"
    unstored = Unstored(conv_scale=conv_scale, img_range=img_range, qk_scale=qk_scale, shift=shift)
    recipe = on_demand.to_be_made(
        model, tile=tile, batch=batch, io=io, device=device, unstored=unstored
    )
    if recipe is None:
        return None
    return Unmade(recipe, network_of(model)[0], halo=halo, compute=compute)
