"""From what a user names to the artifact that runs: made on the way where it must be.

An artifact is taken as it is, a shipped model has its own, a checkpoint is exported once; on a
GPU with a TensorRT that can build for it, both become a plan for that very GPU, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hat_deploy import artifact, cache
from hat_deploy.artifact import zoo
from hat_deploy.engines import cuda
from hat_deploy.engines.cuda.driver import local_gpu, local_gpu_name
from hat_deploy.engines.tensorrt import library
from hat_deploy.errors import HatDeployError, UsageError
from hat_deploy.export.recipe import OnStage, PlanTarget, Recipe
from hat_deploy.geometry import format_size
from hat_deploy.networks import shape_of
from hat_deploy.networks.unstored import PUBLISHED, Unstored
from hat_deploy.precision import Precision

HALF_FIRST = (Precision.FP16, Precision.FP32)
"""On a GPU: half precision where its proof holds, which is several times as fast."""


def artifact_for(
    model: str | Path,
    *,
    tile: tuple[int, int] | None = None,
    batch: int = 1,
    io: str = "float",
    device: str = "cpu",
    unstored: Unstored = PUBLISHED,
    on_stage: OnStage = lambda stage: None,
    on_warning: OnStage = warnings.warn,
) -> Path:
    """The artifact to run for what a user named.

    Args:
        model: an artifact, which is its own answer; a checkpoint, made into an artifact once,
            in the user's cache, which takes the ``export`` extra; or the name of a model that
            ships.
        tile: height and width of a tile, halo included; an artifact has its own. Default:
            256x256, rounded up to the network's window.
        batch: tiles in one call; an artifact has its own.
        io: ``float`` or ``uint8``; an artifact has its own.
        device: ``cpu``: an ``.onnx`` in fp32. ``cuda``: a ``.plan`` for this GPU where there
            is a TensorRT that can build and run it, else an ``.onnx``; both in fp16 where its
            proof holds, else fp32.
        unstored: what a checkpoint does not store; an artifact has its own.
        on_stage: told what is being done while an artifact is made.
        on_warning: told what seems wrong with a checkpoint when it is made into an artifact.

    Raises:
        UsageError: there is no such file, the artifact has another tile or cannot be told what
            a checkpoint does not store, or there is no GPU.
        HatDeployError: the file cannot be read, or nothing can be made of it; see the
            subclasses.
    """
    found = _ready_or_recipe(model, tile, batch, io, device, unstored, on_stage)
    if isinstance(found, Path):
        return found
    return cache.fetch(
        found.made_from,
        found.suffix,
        lambda path: found.make(path, on_stage, on_warning),
        lambda: on_stage("another process is making it: waiting for it"),
    )


def to_be_made(
    model: str | Path,
    *,
    tile: tuple[int, int] | None = None,
    batch: int = 1,
    io: str = "float",
    device: str = "cpu",
    unstored: Unstored = PUBLISHED,
) -> Recipe | None:
    """What :func:`artifact_for` would have to make first; None if it is all there.

    Raises:
        As :func:`artifact_for`, but for what would go wrong in the making.
    """
    found = _ready_or_recipe(model, tile, batch, io, device, unstored, lambda stage: None)
    if isinstance(found, Path) or cache.find(found.made_from, found.suffix):
        return None
    return found


def plan_target(on_stage: OnStage = lambda stage: None) -> PlanTarget | None:
    """The TensorRT that can build and run plans for this machine's GPU; None without one.

    TensorRT before TensorRT for RTX, which does not build for every GPU.

    Args:
        on_stage: told why one that is installed is not taken.
    """
    sm = local_gpu()
    if sm is None or not cuda.installed():
        return None
    for flavour in library.installed():
        if not flavour.builds_for(sm):
            on_stage(f"{flavour.label} does not build for this GPU, {sm}")
            continue
        try:
            version = library.load(flavour).version
        except HatDeployError as reason:
            on_stage(str(reason))
            continue
        return PlanTarget(flavour=flavour, version=version, sm=sm, gpu=local_gpu_name() or sm)
    return None


def _said(unstored: Unstored, config: Mapping[str, Any]) -> bool:
    """Whether an artifact was made with what was given, if anything was."""
    own = shape_of(config)
    return all(getattr(own, name) == value for name, value in unstored.given.items())


def _as_it_is(path: Path, tile: tuple[int, int] | None, unstored: Unstored) -> Path:
    if unstored.given:
        names = ", ".join(unstored.options)
        raise UsageError(
            f"{path} is an artifact, and what {names} decides was settled when it was made: leave "
            "it out, or export the checkpoint again with them"
        )
    own = artifact.describe(path).tile
    if tile is not None and tile != own:
        raise UsageError(
            f"{path} was built for tiles of {format_size(own)}, not {format_size(tile)}: "
            "export it again with --tile, or leave --tile out"
        )
    return path


def _ready_or_recipe(
    model: str | Path,
    tile: tuple[int, int] | None,
    batch: int,
    io: str,
    device: str,
    unstored: Unstored,
    on_stage: OnStage,
) -> Path | Recipe:
    """An artifact that needs no making, or how it is made."""
    path = Path(model)
    if path.suffix.lower() in artifact.SUFFIXES:
        return _as_it_is(path, tile, unstored)
    if device == "cuda" and local_gpu() is None:
        raise UsageError("this machine has no NVIDIA GPU with a driver: leave --device cuda out")
    if path.exists():
        return _recipe(path, path.stem, tile, batch, io, device, unstored, on_stage)
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"there is no checkpoint {path}")
    shipped = zoo.find(str(model))
    ready = artifact.describe(shipped.onnx)
    fits = tile in (None, ready.tile) and (batch, io) == (ready.batch, ready.io)
    fits = fits and _said(unstored, ready.config)
    if fits and (device == "cpu" or not _can_export()):
        return shipped.onnx
    return _recipe(shipped.checkpoint, shipped.name, tile, batch, io, device, unstored, on_stage)


def _recipe(
    checkpoint: Path,
    name: str,
    tile: tuple[int, int] | None,
    batch: int,
    io: str,
    device: str,
    unstored: Unstored,
    on_stage: OnStage,
) -> Recipe:
    return Recipe(
        checkpoint=checkpoint,
        name=name,
        tile=tile,
        batch=batch,
        io=io,
        precisions=HALF_FIRST if device == "cuda" else (Precision.FP32,),
        target=plan_target(on_stage) if device == "cuda" else None,
        unstored=unstored,
    )


def _can_export() -> bool:
    return all(find_spec(name) is not None for name in ("torch", "onnx", "onnxscript"))
