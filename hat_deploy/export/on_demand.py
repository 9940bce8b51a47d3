"""From what a user named to the artifact that runs.

An artifact is taken as it is, a shipped model has its own, a checkpoint is exported once; on a
GPU with a TensorRT that can build for it, both become a plan for that very GPU, once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from hat_deploy import cache
from hat_deploy.artifact import Artifact, Description
from hat_deploy.artifact.resolve import Checkpoint
from hat_deploy.engines import cuda
from hat_deploy.engines.cuda.driver import local_gpu, local_gpu_name
from hat_deploy.engines.tensorrt import library
from hat_deploy.errors import HatDeployError, UsageError
from hat_deploy.export.on_demand_export import OfOneSize, OnDemandExport, PlanTarget
from hat_deploy.geometry import format_size
from hat_deploy.networks import shape_of
from hat_deploy.networks.unstored import PUBLISHED, Unstored
from hat_deploy.precision import Precision
from hat_deploy.terminal.progress import OnStage

HALF_FIRST = (Precision.FP16, Precision.FP32)
"""On a GPU: half precision where its proof holds, which is several times as fast."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an artifact is to be like where one has to be chosen or made."""

    tile: tuple[int, int] | None = None
    """Height and width of a tile, halo included. None: what the artifact has, or 256x256, rounded
    up to the network's window."""
    batch: int = 1
    """Tiles in one call; an artifact that was named has its own."""
    io: str = "float"
    """``float`` or ``uint8``; an artifact that was named has its own."""
    device: str = "cpu"
    """``cpu``: an ``.onnx`` in fp32. ``cuda``: a ``.plan`` for this GPU where there is a TensorRT
    that can build and run it, else an ``.onnx``; both in fp16 where its proof holds, else fp32."""
    gpus: int = 1
    """How many of the visible GPUs run it: for a plan, all of one compute capability."""
    exact: bool = False
    """Whether it takes and gives averages; an artifact that was named must be what is wanted."""
    precision: str | None = None
    """None: as the device decides; an artifact that was named has its own."""
    unstored: Unstored = PUBLISHED
    """What a checkpoint does not store; an artifact that was named has its own."""

    def __post_init__(self) -> None:
        if self.precision is not None:
            try:
                Precision.of(self.precision)
            except ValueError as error:
                raise UsageError(str(error)) from error


ANYTHING = Wanted()


def artifact_for(
    named: Artifact | Checkpoint,
    wanted: Wanted = ANYTHING,
    *,
    on_stage: OnStage = lambda stage: None,
    on_warning: OnStage = warnings.warn,
) -> Artifact:
    """The artifact to run for what a user named, made where it must be.

    Args:
        named: an artifact is its own answer. A checkpoint is made into an artifact once, in the
            user's cache, which takes the ``export`` extra; a model that ships has an artifact.
        on_stage: told what is being done while an artifact is made.
        on_warning: told what seems wrong with a checkpoint when it is made into an artifact.

    Raises:
        UsageError: the artifact has another tile or cannot be told what a checkpoint does not
            store, or there is no GPU.
        HatDeployError: the file cannot be read, or nothing can be made of it; see the
            subclasses.
    """
    found = _ready_or_export(named, wanted, on_stage)
    if isinstance(found, Artifact):
        return found

    def fetch(export: OnDemandExport) -> Path:
        return cache.fetch(
            export.made_from,
            export.suffix,
            lambda path: export.make(path, on_stage, on_warning),
            lambda: on_stage("another process is making it: waiting for it"),
        )

    found = _kept(found)
    try:
        return Artifact(fetch(found), wanted.tile)
    except OfOneSize:
        return Artifact(fetch(replace(found, any_size=False)), wanted.tile)


def to_be_made(named: Artifact | Checkpoint, wanted: Wanted = ANYTHING) -> OnDemandExport | None:
    """What :func:`artifact_for` would have to make first; None if it is all there.

    Raises:
        As :func:`artifact_for`, but for what would go wrong in the making.
    """
    found = _ready_or_export(named, wanted, lambda stage: None)
    if isinstance(found, Artifact):
        return None
    found = _kept(found)
    return None if cache.find(found.made_from, found.suffix) else found


def plan_target(on_stage: OnStage = lambda stage: None, *, gpus: int = 1) -> PlanTarget | None:
    """The TensorRT that can build and run plans for this machine's GPU; None without one.

    TensorRT before TensorRT for RTX, which does not build for every GPU.

    Args:
        on_stage: told why one that is installed is not taken.
        gpus: how many of the visible ones are to run it; it is built on the first.

    Raises:
        UsageError: they are not of one compute capability.
    """
    sm = local_gpu()
    if sm is None or not cuda.installed():
        return None
    if any(local_gpu(number) != sm for number in range(1, gpus)):
        found = ", ".join(f"{local_gpu_name(n)} ({local_gpu(n)})" for n in range(gpus))
        raise UsageError(
            "a plan runs on GPUs of one compute capability, and these differ: "
            f"{found}; name GPUs of one kind, as --device cuda:0,cuda:1"
        )
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


def _ready_or_export(
    named: Artifact | Checkpoint, wanted: Wanted, on_stage: OnStage
) -> Artifact | OnDemandExport:
    """An artifact that needs no making, or how it is made."""
    if isinstance(named, Artifact):
        return _as_it_is(named, wanted)
    if wanted.device == "cuda" and local_gpu() is None:
        raise UsageError("this machine has no NVIDIA GPU with a driver: leave --device cuda out")
    if named.shipped is not None:
        ready = named.shipped.artifact
        if _fits(ready.description, wanted) and (wanted.device == "cpu" or not _can_export()):
            return replace(ready, tile=wanted.tile)
    on_gpu = wanted.device == "cuda"
    return OnDemandExport(
        checkpoint=named,
        tile=wanted.tile,
        batch=wanted.batch,
        io=wanted.io,
        precisions=_precisions(wanted),
        target=plan_target(on_stage, gpus=wanted.gpus) if on_gpu else None,
        exact=wanted.exact,
        any_size=not (on_gpu or wanted.exact),
        unstored=wanted.unstored,
    )


def _kept(export: OnDemandExport) -> OnDemandExport:
    """The same of one size, where that is what the cache holds and not the one of any size."""
    single = replace(export, any_size=False)
    if cache.find(export.made_from, export.suffix) is None:
        return single if cache.find(single.made_from, single.suffix) else export
    return export


def _precisions(wanted: Wanted) -> tuple[str, ...]:
    if wanted.precision is not None:
        return (wanted.precision,)
    return HALF_FIRST if wanted.device == "cuda" else (Precision.FP32,)


def _as_it_is(named: Artifact, wanted: Wanted) -> Artifact:
    if wanted.unstored.given:
        names = ", ".join(wanted.unstored.options)
        raise UsageError(
            f"{named.path} is an artifact, and what {names} decides was settled when it was made: "
            "leave it out, or export the checkpoint again with them"
        )
    described = named.description
    if wanted.precision not in (None, described.precision):
        raise UsageError(
            f"{named.path} was made in {described.precision}, not in {wanted.precision}: export "
            "its checkpoint again with --precision, or leave it out"
        )
    own = described.tile
    if wanted.exact and described.averages is None:
        raise UsageError(
            f"{named.path} takes no averages of the whole image: export its checkpoint again with "
            "--exact, or leave --exact out"
        )
    if described.any_size:
        return replace(named, tile=wanted.tile or named.tile)
    if wanted.tile is not None and wanted.tile != own:
        raise UsageError(
            f"{named.path} was built for tiles of {format_size(own)}, not "
            f"{format_size(wanted.tile)}: export it again with --tile or --any-size, or leave "
            "--tile out"
        )
    return named


def _fits(ready: Description, wanted: Wanted) -> bool:
    """Whether the artifact of a shipped model is what is wanted."""
    own = shape_of(ready.config)
    return (
        (ready.any_size or wanted.tile in (None, ready.tile))
        and (wanted.batch, wanted.io) == (ready.batch, ready.io)
        and wanted.exact == (ready.averages is not None)
        and wanted.precision in (None, ready.precision)
        and all(getattr(own, name) == value for name, value in wanted.unstored.given.items())
    )


def _can_export() -> bool:
    return all(find_spec(name) is not None for name in ("torch", "onnx", "onnxscript"))
