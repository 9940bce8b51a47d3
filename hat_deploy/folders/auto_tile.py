"""The tile size that ``--tile auto`` chooses for a run's images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from hat_deploy.artifact import Artifact
from hat_deploy.artifact.resolve import Checkpoint, resolve
from hat_deploy.engines.cuda.driver import local_gpu_address
from hat_deploy.errors import CheckpointError, UsageError
from hat_deploy.folders import clips, journal, reading
from hat_deploy.folders.job_list import Job
from hat_deploy.folders.outcomes import Options
from hat_deploy.geometry import format_size
from hat_deploy.machine import available_memory, gpu_memory
from hat_deploy.networks import Shape, shape_of
from hat_deploy.tiles.choice import choose
from hat_deploy.video.names import is_clip

SAMPLE = 64
"""Images whose headers are read."""
LARGEST = 4096
"""The longest side of a tile that is accepted from a journal."""


def network_of(model: str | Artifact | Checkpoint) -> tuple[Shape, Artifact | Checkpoint]:
    """Config and file of a model that ships (needs no torch), a checkpoint, or an artifact.

    Raises:
        UsageError: an artifact of one size has a tile of its own.
        HatDeployError: the file cannot be read; see the subclasses.
    """
    named = resolve(model)
    if isinstance(named, Checkpoint):
        return config_of(named), named
    if not named.description.any_size:
        raise UsageError(f"{named.path} has a tile of its own: leave --tile out")
    return shape_of(named.description.config), named


def config_of(checkpoint: Checkpoint) -> Shape:
    """The config of a network, read off its weights' shapes or, of a shipped model, its file.

    Whether the weights make a network is not tried.

    Raises:
        HatDeployError: the checkpoint cannot be read; see the subclasses.
    """
    if checkpoint.shipped is not None:
        return shape_of(checkpoint.shipped.config)
    from hat_deploy.networks.checkpoint import detect_config, load_state_dict

    path = checkpoint.path
    try:
        return detect_config(load_state_dict(path))
    except CheckpointError as error:
        named = str(error).startswith(str(path))
        raise CheckpointError(str(error) if named else f"{path}: {error}") from error


def choose_tile(
    jobs: Sequence[Job],
    model: str | Artifact | Checkpoint,
    options: Options,
    *,
    gpu: bool,
    exact: bool = False,
    engines: int = 1,
) -> tuple[tuple[int, int], int, str]:
    """A tile for these jobs, the batch size, and a line that says why.

    A run that continues an earlier one with the same model takes its tile, whatever images were
    added since: another tile gives another result.

    Args:
        exact: whether a checkpoint's artifact is to take averages of the whole image.
        engines: how many compute side by side: one on each of so many GPUs, or all in the
            machine's memory.

    Raises:
        UsageError: nothing can be chosen; see :func:`hat_deploy.tiles.choice.choose`.
    """
    config, named = network_of(model)
    if isinstance(named, Checkpoint):
        digest, shipped = named.sha256, None if exact else named.shipped
    else:
        digest, shipped = named.description.checkpoint_sha256, None
        exact = named.description.averages is not None
    if (earlier := _earlier(jobs, digest, config.window, exact=exact)) is not None:
        return earlier, 1, f"tile {format_size(earlier)}: the last run used it, says its journal"
    ready = None if shipped is None else shipped.artifact.description.tile
    any_size = shipped is not None and shipped.artifact.description.any_size and not gpu
    if ready is not None and not any_size and find_spec("torch") is None:
        return ready, 1, f"tile {format_size(ready)}: without torch there is no other"
    sizes = list(_sizes(jobs, options.max_pixels))
    made_for_one = exact and isinstance(named, Checkpoint)
    chosen = choose(
        sizes,
        config,
        free=_free(gpu=gpu, engines=engines),
        gpu=gpu,
        exact=exact,
        any_size=not made_for_one,
        ready=ready,
    )
    return chosen.tile, chosen.batch, chosen.reason


def _earlier(
    jobs: Iterable[Job], checkpoint: str, window: int, *, exact: bool
) -> tuple[int, int] | None:
    for folder in dict.fromkeys(job.root for job in jobs if isinstance(job.root, Path)):
        with journal.JournalReader(folder) as earlier:
            for settings in earlier.settings:
                tile = _tile(settings.get("tile"), window)
                alike = settings.get("checkpoint") == checkpoint
                if alike and ("passes" in settings) == exact and tile is not None:
                    return tile
    return None


def _tile(found: object, window: int) -> tuple[int, int] | None:
    """The tile that a journal names, if it fits this window."""
    if not isinstance(found, list) or len(found) != 2:
        return None
    if any(type(side) is not int or not 0 < side <= LARGEST or side % window for side in found):
        return None
    return found[0], found[1]


def _sizes(jobs: Sequence[Job], max_pixels: int) -> Iterable[tuple[int, int]]:
    step = max(1, -(-len(jobs) // SAMPLE))
    for job in jobs[::step]:
        try:
            if is_clip(job.source):
                yield clips.read_size(job.here[0], max_pixels=max_pixels)[:2]
            else:
                yield reading.read_size(job.source, max_pixels=max_pixels)
        except Exception:  # reported when its turn comes
            continue


def _free(*, gpu: bool, engines: int = 1) -> int:
    """Half of the free memory for each engine; the runtime and the images need the rest."""
    if not gpu:
        return available_memory() // (2 * engines)
    found = [gpu_memory("free", local_gpu_address(number)) for number in range(engines)]
    known = [free for free in found if free]
    return (min(known) if known else available_memory()) // 2
