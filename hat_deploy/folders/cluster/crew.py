"""The actor: one engine, opened and proved where it stands, and the pipeline around it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

import ray

from hat_deploy.errors import HatDeployError
from hat_deploy.folders.cluster.blocks import Block, Broken, Message, Told, packed, unpacked
from hat_deploy.folders.cluster.line import Line
from hat_deploy.folders.cluster.shipped import Shipped
from hat_deploy.folders.job_list import Job, Rejected
from hat_deploy.folders.journal import relative
from hat_deploy.folders.journal_index import Entry
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.outcomes import Done, Options, Outcome, Skipped
from hat_deploy.folders.pipeline import settings_of
from hat_deploy.folders.places.remote import Location
from hat_deploy.folders.shards import Shard
from hat_deploy.machine import available_memory
from hat_deploy.tiles.enlarger import Enlarger

log = logging.getLogger(__name__)

CALLS = 2
"""Blocks that an actor has at a time: while the last images of one are written, those of the next
are read and computed."""
PARTS = 8
"""In how many parts the outcomes of a block are told, at most."""


@dataclass(frozen=True, kw_only=True)
class Kit:
    """What an actor is made from."""

    shipped: Shipped
    how: Mapping[str, Any]
    """Arguments of ``Upscaler``."""
    settings: Mapping[str, Any]
    """Those of the one who started the run, for the journals."""
    options: Options
    roots: tuple[Location, ...]
    """Folders of results."""
    far: bool
    """Whether images come or results go through a network."""
    neighbours: int
    """Actors that may stand on one machine."""


class Crew:
    """A worker of a run. Ray makes it, calls it from :data:`CALLS` threads, and after its death
    makes it again, under the same actor ID, and repeats the calls that had not ended.

    The ID names its journal. So what is repeated finds what was finished, as a shard does that was
    killed and goes on.
    """

    def __init__(self, kit: Kit) -> None:
        self._earlier: dict[_Name, Entry] = {}
        self._others: set[_Name] = set()
        self._broken: Broken | None = None
        self._line: Line | None = None
        try:
            self._line = self._open(kit)
        except (HatDeployError, OSError) as error:
            self._broken = _broken(error)

    def _open(self, kit: Kit) -> Line:
        upscaler = Enlarger(kit.shipped.unpack(), on_warning=log.warning, **kit.how)
        upscaler.settings = kit.settings
        worker = ray.get_runtime_context().get_actor_id() or "0"
        memory = kit.options.memory or available_memory() // (4 * kit.neighbours)
        journals = Journals(
            [],
            settings_of(upscaler, kit.options),
            roots=kit.roots,
            shard=Shard(worker=worker),
            earlier=self._before,
        )
        journals.open()
        return Line(upscaler, replace(kit.options, memory=memory), journals, far=kit.far)

    def __call__(self, rows: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Work through a block.

        What is told of a block always comes in the same parts: where Ray repeats a call, it drops
        as many parts as it had heard.
        """
        for row in rows["message"]:
            message = unpacked(row)
            if isinstance(message, Block):
                yield from map(packed, self._told(message))
            else:
                yield packed(message)

    def _told(self, block: Block) -> Iterator[Message]:
        if self._line is None:
            assert self._broken is not None
            yield self._broken
            return
        for found, entry in block.tasks:
            if isinstance(found, Job) and entry is not None:
                self._earlier[_name(found)] = entry
        waiting = [(found, self._line.put(found)) for found, _ in block.tasks]
        part = -(-len(waiting) // PARTS)
        for first in range(0, len(waiting), part):
            try:
                yield Told(tuple(starmap(self._outcome, waiting[first : first + part])))
            except (HatDeployError, OSError) as error:
                yield _broken(error)
                return

    def _before(self, root: Location, name: str) -> Entry | None:
        """What earlier runs wrote on a result that the actor's own journal knows nothing of."""
        self._others.add((root, name))
        return self._earlier.get((root, name))

    def _outcome(self, found: Job | Rejected, future: Future[Outcome]) -> Outcome:
        """What became of an image; what this actor had done before it died is done."""
        outcome = future.result()
        if isinstance(found, Rejected):
            return outcome
        name = _name(found)
        self._earlier.pop(name, None)
        own = name not in self._others
        self._others.discard(name)
        if own and isinstance(outcome, Skipped) and outcome.reason is None:
            return Done(job=found, seconds=0.0, tiles=0)
        return outcome

    def __del__(self) -> None:
        if self._line is not None:
            self._line.close()


_Name = tuple[Location, str]
"""A folder of results, and the name of one inside it."""


def _name(job: Job) -> _Name:
    return job.root, relative(job.target, job.root)


def _broken(error: Exception) -> Broken:
    return Broken(f"{error} (on {socket.gethostname()})")
