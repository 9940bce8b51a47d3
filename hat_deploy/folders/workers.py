"""The threads that decode and encode, and the queues between them and the engine loop."""

from __future__ import annotations

import queue
import threading
from typing import Self

from hat_deploy.folders.budget import Budget, Closed
from hat_deploy.folders.job_list import Rejected
from hat_deploy.folders.outcomes import Outcome, refused
from hat_deploy.folders.stages import Elsewhere, Item, Stages
from hat_deploy.folders.waiting import Waiting

Decoded = Item | Outcome | Elsewhere | Exception | None
"""A decoded image, the outcome of a job without one, a job that another run has, an error that
ends the run, or None from a decoder that has ended."""
Written = Outcome | Exception
"""The outcome of an image, or an error that ends the run."""


class Workers:
    """Decoders and encoders around the caller's thread.

    Args:
        jobs: taken one by one.
        counts: of decoders and encoders; see :func:`threads`.
    """

    def __init__(
        self, jobs: Waiting, stages: Stages, budget: Budget, counts: tuple[int, int]
    ) -> None:
        self._jobs = jobs
        self._stages = stages
        self._budget = budget
        self._stop = threading.Event()
        self._to_encode: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self.decoded: queue.SimpleQueue[Decoded] = queue.SimpleQueue()
        self.written: queue.SimpleQueue[Written] = queue.SimpleQueue()
        self.decoders, self._encoders = counts
        targets = [self._decode_all] * self.decoders + [self._encode_all] * self._encoders
        # Daemons: a program that never closes its run must be able to exit.
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def encode(self, item: Item) -> None:
        """Hand an image to the encoders."""
        self._to_encode.put(item)

    def end(self) -> None:
        """Let every thread finish its current step, and wait until all have ended."""
        self._stop.set()
        self._budget.close()
        for _ in range(self._encoders):
            self._to_encode.put(None)
        for thread in self._threads:
            thread.join()

    def _decode_all(self) -> None:
        while not self._stop.is_set():
            try:
                if (job := self._jobs.take()) is None:
                    break
                known = refused(job) if isinstance(job, Rejected) else self._stages.load(job)
                self.decoded.put(known)
            except Closed:
                break
            except Exception as error:  # told to the caller's thread, which raises it
                self.decoded.put(error)
                break
        self.decoded.put(None)

    def _encode_all(self) -> None:
        while self._encode_next():
            pass  # no image is held while the next is waited for

    def _encode_next(self) -> bool:
        item = self._to_encode.get()
        if item is None or self._stop.is_set():
            return False
        try:
            self.written.put(self._stages.save(item))
        except Exception as error:  # as above
            self.written.put(error)
        return True


MOST_ENCODERS = 8
"""For each GPU; each may take 128 MiB."""
TRANSFERS = 16
"""Threads at each end where images or results are not on this machine: they mostly wait."""


def threads(cores: int, *, on_gpu: bool = False, engines: int = 1) -> tuple[int, int]:
    """Decoders and encoders for a machine.

    An engine on the processor has the cores to itself most of the time. One on a GPU leaves them:
    one core for the engine loop, two for decoders, the rest for encoders. Several GPUs take as many
    times the decoders, up to a quarter of the cores, and as many times the encoders. Results are
    larger than sources and take longer to compress.

    Args:
        cores: that this process may use.
        on_gpu: whether engines compute on GPUs.
        engines: how many compute side by side.
    """
    if cores < 4:
        return 1, 1
    if on_gpu:
        decoders = max(2, min(2 * engines, cores // 4))
        return decoders, max(2, min(cores - 1 - decoders, MOST_ENCODERS * engines))
    return 2, 2 if cores < 12 else 4
