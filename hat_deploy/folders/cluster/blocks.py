"""A listing cut into blocks, each with what earlier runs wrote about its images.

A block is what Ray hands to a worker at once, and again if the worker dies.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from hat_deploy.errors import HatDeployError
from hat_deploy.folders.inputs import Passed
from hat_deploy.folders.job_list import Job, Rejected
from hat_deploy.folders.journal import JournalReader, relative
from hat_deploy.folders.journal_index import Entry
from hat_deploy.folders.journal_segments import RemoteJournal
from hat_deploy.folders.outcomes import Outcome
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.search import Search

LEAST, MOST = 4, 256
"""Images in a block: few at first, so that every worker soon has some, and more as more are found,
so that fifty million are some hundred thousand blocks."""
SHARE = 16
"""A block holds no more than this part of what was found so far, for each worker, so that no
worker ends long after the others."""


class Task(NamedTuple):
    """One image, and the journals' last entry on its result from before this run."""

    found: Job | Rejected
    earlier: Entry | None


@dataclass(frozen=True)
class Block:
    """Images that go to one worker."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class End:
    """All has been found."""

    images: int
    """What cannot be a job included."""
    passed: Counter[Passed]
    """What was passed over."""


@dataclass(frozen=True)
class Told:
    """What became of some images."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Broken:
    """Why the run cannot go on, as a sentence."""

    sentence: str


Message = Block | End | Told | Broken
"""What goes through Ray, one in a row of its own."""


def packed(message: Message) -> dict[str, list[Any]]:
    """A message as a row, for Ray."""
    return {"message": [pickle.dumps(message)]}


def unpacked(row: bytes) -> Message:
    """The message of a row that this run's own processes wrote."""
    message: Message = pickle.loads(row)
    return message


def size_after(listed: int, workers: int) -> int:
    """How many images a block has once so many were found.

    >>> size_after(10, 2), size_after(1000, 2), size_after(10**6, 2)
    (4, 31, 256)
    """
    return max(LEAST, min(MOST, listed // (SHARE * workers)))


def blocks(search: Search, workers: int) -> Iterator[Message]:
    """Everything that a search finds, and its end.

    Args:
        workers: that share the blocks.
    """
    images = 0
    waiting: list[Task] = []
    try:
        stream = search.stream()
        with Journaled(stream.roots) as journaled:
            for found in stream:
                waiting.append(Task(found, journaled.entry(found)))
                images += 1
                if len(waiting) >= size_after(images, workers):
                    yield Block(tuple(waiting))
                    waiting = []
    except HatDeployError as error:
        yield Broken(str(error))
        return
    if waiting:
        yield Block(tuple(waiting))
    yield End(images, stream.passed)


@dataclass
class Journaled:
    """What the journals of folders of results say when a run begins."""

    roots: Sequence[Location]

    def __enter__(self) -> Self:
        self._readers = {root: _reader(root) for root in self.roots}
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            reader.close()

    def entry(self, found: Job | Rejected) -> Entry | None:
        """The last on a job's result."""
        if isinstance(found, Rejected):
            return None
        reader = self._readers[found.root]
        return reader.last(relative(found.target, found.root))


def _reader(root: Location) -> JournalReader | RemoteJournal:
    return RemoteJournal(root) if isinstance(root, Remote) else JournalReader(root)
