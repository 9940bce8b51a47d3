"""A run's share of the images, where several machines divide them without talking to each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hat_deploy.errors import UsageError

AUTO = "auto"
LARGEST = 10**6
"""Shards, at most."""


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shares, numbered from 0. A name's hash alone decides whose it is."""

    index: int = 0
    count: int = 1
    worker: str | None = None
    """Of a run whose images are handed out one by one: who writes the journal, by letters and
    digits."""

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def label(self) -> str:
        """For the name of a file: ``3-of-16``, or ``ray-0a1b``."""
        return f"{self.index}-of-{self.count}" if self.worker is None else f"ray-{self.worker}"

    @property
    def apart(self) -> bool:
        """Whether it writes a journal of its own beside others."""
        return self.count > 1 or self.worker is not None

    def has(self, name: str) -> bool:
        """Whether an image is of this share.

        Args:
            name: of its result, inside the folder of results.
        """
        if self.count == 1:
            return True
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index


WHOLE = Shard()
"""No division."""


def parse(text: str, environ: Mapping[str, str]) -> Shard:
    """``3/16``, or ``auto`` for what a scheduler says; ``auto/16`` where it says no count.

    Args:
        environ: of the process: AWS Batch arrays, Slurm arrays and indexed jobs of Kubernetes
            number their tasks there.

    Raises:
        UsageError: it is none of these, or no scheduler is there.
    """
    match = re.fullmatch(r"(auto|\d{1,7})(?:/(\d{1,7}))?", text.strip().lower())
    if match is None or (match[1] != AUTO and match[2] is None):
        raise UsageError(f"--shard {text}: give a number and a count, as 0/16, or auto")
    count = None if match[2] is None else int(match[2])
    if match[1] == AUTO:
        index, known = _of_scheduler(environ)
        if count is not None and known is not None and count != known:
            raise UsageError(f"--shard {text}: the scheduler runs {known} tasks, not {count}")
        count = known if count is None else count
        if count is None:
            raise UsageError(
                f"--shard {text}: Kubernetes tells a task its number, {index}, and not how many "
                f"there are: write --shard auto/16, with the job's completions for 16"
            )
    else:
        index = int(match[1])
    if count is None or not 0 < count <= LARGEST or not 0 <= index < count:
        raise UsageError(f"--shard {index}/{count}: shards are numbered from 0 to the count less 1")
    return Shard(index, count)


def _of_scheduler(environ: Mapping[str, str]) -> tuple[int, int | None]:
    """A task's number, and how many there are if it is told."""

    def number(name: str) -> int | None:
        value = environ.get(name, "").strip()
        return int(value) if re.fullmatch(r"\d{1,9}", value) else None

    if (index := number("AWS_BATCH_JOB_ARRAY_INDEX")) is not None:
        return index, number("AWS_BATCH_JOB_ARRAY_SIZE")
    if (index := number("SLURM_ARRAY_TASK_ID")) is not None:
        first = number("SLURM_ARRAY_TASK_MIN") or 0
        step = number("SLURM_ARRAY_TASK_STEP") or 1
        return (index - first) // step, number("SLURM_ARRAY_TASK_COUNT")
    if (index := number("JOB_COMPLETION_INDEX")) is not None:
        return index, None
    raise UsageError(
        "--shard auto: none of AWS_BATCH_JOB_ARRAY_INDEX, SLURM_ARRAY_TASK_ID and "
        "JOB_COMPLETION_INDEX is set: write the number and the count, as 0/16"
    )
