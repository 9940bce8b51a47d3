"""A model that is not exported yet, as far as a dry run needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from hat_deploy.artifact import Artifact
from hat_deploy.artifact.resolve import Checkpoint, resolve
from hat_deploy.engines import backend_for
from hat_deploy.engines.cuda import visible
from hat_deploy.export import on_demand
from hat_deploy.export.on_demand_export import OnDemandExport
from hat_deploy.folders.auto_tile import config_of
from hat_deploy.geometry import check_tile, default_halo, default_tile, format_size, grid
from hat_deploy.machine import total_memory
from hat_deploy.networks import Shape
from hat_deploy.networks.unstored import Unstored
from hat_deploy.tiles.averages import DEFAULT_PASSES
from hat_deploy.tiles.choice import usual_tile
from hat_deploy.tiles.enlarger import tiles_setting


class Unexported:
    """What is known of a model before its export: everything but its artifact's name.

    Args:
        export: how it would be made.
        shape: of the network.
        halo: as asked for; None takes the default.
        compute: as asked for.
        backend: the library that will run it.
        passes: as asked for, of an exact one.

    Raises:
        UsageError: tile or halo do not fit the network.
    """

    def __init__(
        self,
        export: OnDemandExport,
        shape: Shape,
        *,
        halo: int | None,
        compute: str | None,
        backend: str,
        passes: int | None = None,
    ) -> None:
        self._window = shape.window
        usual = default_tile(self._window)
        if export.any_size:
            usual = usual_tile(shape, backend, total_memory())
        self._tile = export.tile or usual
        chosen = default_halo(self._tile, self._window, exact=export.exact)
        self._halo = chosen if halo is None else halo
        self._passes = (passes or DEFAULT_PASSES) if export.exact else 1
        check_tile(self._tile, self._halo, self._window)
        self._export = export
        self.scale = shape.scale
        """The network's factor."""
        self.settings: Mapping[str, Any] = {
            **({"passes": self._passes} if export.exact else {}),
            **tiles_setting(equal=export.any_size),
            "checkpoint": export.checkpoint.sha256,
            "tile": list(self._tile),
            "halo": self._halo,
            "compute": compute if compute != export.precisions[-1] else None,
        }
        """As :class:`Enlarger` has them, but for what only the artifact can tell."""

    @property
    def name(self) -> str:
        """For the summary."""
        return f"{self._export.checkpoint.name}, not exported yet"

    @property
    def sentence(self) -> str:
        """What would be exported, as a sentence for the user."""
        what = "a TensorRT plan" if self._export.target else "an .onnx"
        precision = " or, failing its proof, ".join(self._export.precisions)
        return (
            f"{self._export.checkpoint.name} would be exported first, once: {what} in {precision}, "
            f"tile {format_size(self._tile)}, batch {self._export.batch}, kept in the cache"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tiles(self, height: int, width: int) -> int:
        """Tiles of one colour image of this size, of all passes."""
        tiles = len(grid((height, width), self._tile, self._halo, self._window).tiles)
        return tiles if tiles == 1 else tiles * self._passes


def find_unexported(
    model: str | Artifact | Checkpoint,
    *,
    tile: tuple[int, int] | None,
    batch: int,
    halo: int | None,
    exact: bool = False,
    passes: int | None = None,
    device: str,
    backend: str | None,
    compute: str | None,
    precision: str | None = None,
    conv_scale: float | None = None,
    img_range: float | None = None,
    qk_scale: float | None = None,
    shift: bool | None = None,
    **_: object,
) -> Unexported | None:
    """Stands in for an upscaler with these arguments; None if its artifact exists.

    Arguments as for :class:`hat_deploy.api.Upscaler`.

    Raises:
        HatDeployError: there is no such model, or it cannot be read; see the subclasses.
    """
    devices = visible.settle_all(device)
    io = "uint8" if devices.on_gpu else "float"
    unstored = Unstored(conv_scale=conv_scale, img_range=img_range, qk_scale=qk_scale, shift=shift)
    wanted = on_demand.Wanted(
        tile=tile,
        batch=batch,
        io=io,
        device=devices.kind,
        gpus=devices.count if devices.on_gpu else 1,
        exact=exact,
        precision=precision,
        unstored=unstored,
    )
    export = on_demand.to_be_made(resolve(model), wanted)
    if export is None:
        return None
    shape = config_of(export.checkpoint)
    library = backend_for(devices.kind, backend, compute)
    return Unexported(export, shape, halo=halo, passes=passes, compute=compute, backend=library)
