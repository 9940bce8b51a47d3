"""From what a user names to the artifact that runs: made on the way where it must be.

An artifact is taken as it is, a shipped model has its own, a checkpoint is exported once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hat_deploy import artifact, cache, zoo
from hat_deploy.errors import UsageError
from hat_deploy.geometry import format_size

OnStage = Callable[[str], None]


def artifact_for(
    model: str | Path,
    *,
    tile: tuple[int, int] | None = None,
    on_stage: OnStage = lambda stage: None,
) -> Path:
    """The artifact to run for what a user named.

    Args:
        model: an artifact, which is its own answer; a checkpoint, exported once into the
            user's cache, which takes the ``export`` extra; or the name of a model that ships.
        tile: height and width of a tile, halo included; an artifact has its own. Default:
            256x256.
        on_stage: told what is being done while a checkpoint is exported.

    Raises:
        UsageError: there is no such file, or the artifact has another tile.
        HatDeployError: the file cannot be read, or the export fails; see the subclasses.
    """
    path = Path(model)
    if path.suffix.lower() in artifact.SUFFIXES:
        own = artifact.describe(path).tile
        if tile is not None and tile != own:
            raise UsageError(
                f"{path} was built for tiles of {format_size(own)}, not {format_size(tile)}: "
                "export it again with --tile, or leave --tile out"
            )
        return path
    if path.exists():
        return _exported(path, path.stem, tile, on_stage)
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"there is no checkpoint {path}")
    shipped = zoo.find(str(model))
    ready = artifact.describe(shipped.onnx)
    if tile in (None, ready.tile):
        return shipped.onnx
    return _exported(shipped.checkpoint, shipped.name, tile, on_stage)


def _exported(checkpoint: Path, name: str, tile: tuple[int, int] | None, on_stage: OnStage) -> Path:
    from hat_deploy import export
    from hat_deploy.hat.checkpoint import load_network

    network = load_network(checkpoint)
    options = export.ExportOptions(tile=tile) if tile else export.ExportOptions()
    described = export.describe(
        network, options, model=name, checkpoint_sha256=artifact.sha256(checkpoint)
    )

    def make(path: Path) -> None:
        export.export_onnx(
            network,
            path,
            options,
            model=name,
            checkpoint_sha256=described.checkpoint_sha256,
            on_stage=on_stage,
        )

    return cache.fetch({"description": described.to_json()}, ".onnx", make)
