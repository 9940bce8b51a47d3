"""The tile for a run, chosen by its pictures: what ``--tile auto`` means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from hat_deploy import artifact
from hat_deploy.artifact import zoo
from hat_deploy.errors import CheckpointError, UsageError
from hat_deploy.folders import journal
from hat_deploy.folders import reading as intake
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.outcomes import Options
from hat_deploy.geometry import format_size
from hat_deploy.machine import available_memory, gpu_memory
from hat_deploy.networks import Shape, shape_of
from hat_deploy.tiles.choice import choose

SAMPLE = 64
"""Pictures whose headers are read."""
LARGEST = 4096
"""The longest side of a tile that a journal is believed."""


def network_of(model: str) -> tuple[Shape, Path]:
    """Config and weights of a model that ships (needs no torch) or of a checkpoint.

    The config is read off the weights' shapes; whether they make a network is not tried.

    Raises:
        UsageError: it is neither; an artifact has a tile of its own.
        HatDeployError: the checkpoint cannot be read; see the subclasses.
    """
    path = Path(model)
    if path.suffix.lower() in artifact.SUFFIXES:
        raise UsageError(f"{model} has a tile of its own: leave --tile out")
    if path.exists():
        from hat_deploy.networks.checkpoint import detect_config, load_state_dict

        try:
            return detect_config(load_state_dict(path)), path
        except CheckpointError as error:
            named = str(error).startswith(str(path))
            raise CheckpointError(str(error) if named else f"{path}: {error}") from error
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"there is no checkpoint {path}")
    shipped = zoo.find(model)
    return shape_of(shipped.config), shipped.checkpoint


def choose_tile(
    jobs: Sequence[Job], model: str, options: Options, *, gpu: bool
) -> tuple[tuple[int, int], int, str]:
    """A tile for these jobs, how many make a batch, and a line that says why.

    A run that goes on where one with this model ended takes that one's tile, whatever has been
    added to the folder: another tile would be another result.

    Raises:
        UsageError: nothing can be chosen; see :func:`hat_deploy.tiles.choice.choose`.
    """
    config, weights = network_of(model)
    if (earlier := _earlier(jobs, artifact.sha256(weights), config.window)) is not None:
        return earlier, 1, f"tile {format_size(earlier)}: as the journal says of the last run"
    ready = _ready(model)
    if ready is not None and find_spec("torch") is None:
        return ready, 1, f"tile {format_size(ready)}: without torch there is no other"
    sizes = list(_sizes(jobs, options.max_pixels))
    chosen = choose(sizes, config, free=_free(gpu=gpu), gpu=gpu, ready=ready)
    return chosen.tile, chosen.batch, chosen.reason


def _earlier(jobs: Iterable[Job], checkpoint: str, window: int) -> tuple[int, int] | None:
    for folder in dict.fromkeys(job.root for job in jobs):
        with journal.Reading(folder) as reading:
            for settings in reading.settings:
                tile = _tile(settings.get("tile"), window)
                if settings.get("checkpoint") == checkpoint and tile is not None:
                    return tile
    return None


def _tile(found: object, window: int) -> tuple[int, int] | None:
    """A journal's word for a tile, if it is one for this window."""
    if not isinstance(found, list) or len(found) != 2:
        return None
    if any(type(side) is not int or not 0 < side <= LARGEST or side % window for side in found):
        return None
    return found[0], found[1]


def _ready(model: str) -> tuple[int, int] | None:
    if Path(model).exists():
        return None
    return artifact.describe(zoo.find(model).onnx).tile


def _sizes(jobs: Sequence[Job], max_pixels: int) -> Iterable[tuple[int, int]]:
    step = max(1, -(-len(jobs) // SAMPLE))
    for job in jobs[::step]:
        try:
            source = intake.read(job.source, max_pixels=max_pixels)
        except Exception:  # said when its turn comes
            continue
        yield source.height, source.width


def _free(*, gpu: bool) -> int:
    """Half of what is free: the other half is for the runtime's own ways and for pictures."""
    if gpu and (free := gpu_memory("free")):
        return free // 2
    return available_memory() // 2
