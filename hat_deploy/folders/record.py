"""What a run leaves in the journals for those who ask how far it is: failures, and beats.

A run that finds everything done leaves nothing, unless no run before it said how many images
there are.
"""

from __future__ import annotations

import time
from secrets import token_hex
from typing import Self

from hat_deploy.folders.journal_index import Beat
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.outcomes import Done, Failed, Outcome, Skipped
from hat_deploy.folders.shards import Shard

EVERY = 15.0
"""Seconds between two beats."""


class Record:
    """Of one run, around it. Only for the thread that hears the outcomes."""

    def __init__(self, journals: Journals, shard: Shard) -> None:
        self._journals = journals
        self._shard = shard
        self._run = token_hex(8)
        self._began = self._last = time.time()
        self._done = self._settled = 0
        self._images: int | None = None
        self._refused = 0
        self._beaten = False

    def add(self, outcome: Outcome, images: int | None) -> None:
        """Count what became of an image.

        Args:
            images: how many there are, if that is known.
        """
        if images is not None:  # a later round has fewer
            self._images = max(images, self._images or 0)
        if outcome.target is None:
            self._refused += 1
            return
        self._settled += 1
        self._done += isinstance(outcome, Done)
        if isinstance(outcome, Skipped):
            return
        if isinstance(outcome, Failed) and outcome.tried:
            self._journals.fail(outcome.source, outcome.target, outcome.reason)
        if not self._beaten or time.time() - self._last > EVERY:
            self._beat()

    def _beat(self, *, ended: bool = False) -> None:
        self._last, self._beaten = time.time(), True
        beat = Beat(
            run=self._run,
            shard=str(self._shard),
            began=self._began,
            time=self._last,
            done=self._done,
            settled=self._settled,
            images=self._total,
            ended=ended,
        )
        for root in self._journals.roots:
            self._journals.tell(root, beat)

    @property
    def _total(self) -> int | None:
        """Images of this share; None while not all names are known, or with several folders."""
        if self._images is None or len(self._journals.roots) != 1:
            return None
        return self._images - self._refused

    @property
    def _untold(self) -> bool:
        """Whether a run that was killed left open how many images there are."""
        return self._total is not None and self._journals.images(self._journals.roots[0]) is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._beaten or self._untold:
            self._beat(ended=True)
