"""The driver of a run on a cluster: what the user started, and where all outcomes come in."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from secrets import token_hex
from typing import Any

from ray.data import ActorPoolStrategy, DataContext, read_datasource
from ray.data.exceptions import RayDataUserCodeException
from ray.exceptions import RayError

from hat_deploy.errors import HatDeployError
from hat_deploy.folders.cluster.blocks import Broken, End, Message, Told, unpacked
from hat_deploy.folders.cluster.crew import CALLS, Crew, Kit
from hat_deploy.folders.cluster.joining import room
from hat_deploy.folders.cluster.listing import Listing
from hat_deploy.folders.cluster.shipped import Shipped
from hat_deploy.folders.cluster.table import Table, place_of
from hat_deploy.folders.job_stream import JobStream
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.outcomes import Failed, OnProgress, Options, Outcome, Progress
from hat_deploy.folders.pipeline import settings_of
from hat_deploy.folders.record import Record
from hat_deploy.folders.search import Search
from hat_deploy.folders.shards import WHOLE, Shard
from hat_deploy.tiles.enlarger import Enlarger

OF_ENGINES = ("passes", "device", "backend", "compute", "streams", "self_test", "retry_wider")
"""Arguments of ``Upscaler`` that are about more than the making of an artifact."""
NAMES = 2**28
"""Bytes of Ray's object store for names that were found and not handed out yet."""


def run(
    search: Search,
    listed: JobStream,
    upscaler: Enlarger,
    how: Mapping[str, Any],
    options: Options,
    *,
    progress: OnProgress | None = None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Generator[Outcome, None, None]:
    """As :func:`hat_deploy.folders.run_list`, on the cluster that was joined.

    Args:
        search: for the images.
        listed: what it gave; only its folders of results are used, and what was passed over is
            counted there at the end.
        upscaler: opened here; it is closed, and its artifact goes to the machines of the cluster.
        how: its arguments.

    Raises:
        FolderBusy: a run with other settings is at work in one of the folders.
        HatDeployError: an engine does not open on a machine or failed there, a disk is full, or
            the images cannot be listed.
    """
    _configure()
    name = f"{time.time_ns() // 10**6:013}{token_hex(4)}"
    pool = room(gpu=how["device"] != "cpu", threads=how["threads"])
    kit = _kit(upscaler, how, options, listed, pool.neighbours, pool.threads)
    upscaler.close()
    journals = Journals(
        [],
        settings_of(upscaler, options),
        roots=listed.roots,
        shard=Shard(worker=name),
        earlier=lambda root, output: None,
    )
    total: int | None = None
    settled = 0
    try:
        for note in journals.open():
            on_note(note)
        with Record(journals, WHOLE) as record, Table(place_of(listed.roots[0], name)) as table:
            rows = read_datasource(
                Listing(search.from_anywhere, pool.workers),
                override_num_blocks=1,
                num_cpus=0,
            ).map_batches(
                Crew,
                fn_constructor_args=(kit,),
                batch_size=None,
                batch_format="numpy",
                compute=ActorPoolStrategy(
                    min_size=pool.workers,
                    max_tasks_in_flight_per_actor=2 * CALLS,  # fewer, and Ray adds no actors
                    max_concurrent_calls_per_actor=CALLS,
                    enable_true_multi_threading=True,
                ),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
            )
            for message in _messages(rows):
                match message:
                    case Broken():
                        raise HatDeployError(message.sentence)
                    case End():
                        total = message.images
                        listed.passed.update(message.passed)
                    case Told():
                        for outcome in message.outcomes:
                            settled += 1
                            record.add(outcome, total)
                            table.add(outcome)
                            if progress is not None:
                                at = Progress(settled=settled, jobs=total, source=outcome.source)
                                progress(at)
                            yield outcome
                            if options.fail_fast and isinstance(outcome, Failed):
                                return
    finally:
        journals.close()


def _kit(
    upscaler: Enlarger,
    how: Mapping[str, Any],
    options: Options,
    listed: JobStream,
    neighbours: int,
    threads: int | None,
) -> Kit:
    artifact = upscaler.artifact
    assert artifact is not None, "the command line hands in no engine"
    # One of any size would choose its tile by each machine's memory.
    tile = upscaler.engine.input.size if artifact.description.any_size else None
    arguments = {name: how[name] for name in OF_ENGINES}
    return Kit(
        shipped=Shipped(artifact, tile),
        how={**arguments, "halo": upscaler.halo, "threads": threads, "tile": tile},
        settings=upscaler.settings,
        options=options,
        roots=tuple(listed.roots),
        far=listed.distant,
        neighbours=neighbours,
    )


def _configure() -> None:
    """Set Ray Data up for this process: a row, which is a whole block of images or the outcomes of
    some, goes on alone and at once.
    """
    context = DataContext.get_current()
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.execution_options.preserve_order = False
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(
        object_store_memory=NAMES
    )


def _messages(rows: Any) -> Iterator[Message]:
    try:
        for batch in rows.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=1):
            for row in batch["message"]:
                yield unpacked(row)
    except (RayError, RayDataUserCodeException) as error:
        reason = " ".join(str(error).split())[-500:]
        raise HatDeployError(f"the run on the cluster failed: {reason}") from error
