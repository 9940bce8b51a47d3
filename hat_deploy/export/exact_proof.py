"""The proof of an exact graph: that it takes and gives averages as the network does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hat_deploy.engines.averages import ExactEngine, exact
from hat_deploy.engines.base import Array, Arrays, Engine, averages_shapes
from hat_deploy.errors import CheckFailed
from hat_deploy.metrics import Difference, compare

FARTHEST = 0.05
"""How far averages may be off, RMS error by RMS. What precisions round is a tenth of it at most;
averages of another channel, or over other pixels, are off by more."""


class Taken(NamedTuple):
    """A run with averages from outside."""

    given: Arrays
    """What went in besides the tiles."""
    result: Array
    own: Array
    """The averages that came out."""


def run(engine: Engine, batch: Array) -> Taken | None:
    """Run a batch with averages that are not its own; None for an engine that takes none."""
    found = exact(engine)
    if found is None:
        return None
    _, own = _run(found, (batch, *_besides(found, np.float32(0))))
    given = _besides(found, own * np.float32(1.25), known=1)
    return Taken(given, *_run(found, (batch, *given)))


def compare_with(reference: ExactEngine, batch: Array, taken: Taken) -> Difference:
    """How far a run is from the reference's.

    Raises:
        CheckFailed: its averages are others.
    """
    expected, own = _run(reference, (batch, *taken.given))
    off = float(np.sqrt(np.mean((taken.own - own) ** 2) / np.mean(own**2)))
    if not off <= FARTHEST:
        raise CheckFailed(
            f"the averages that the exported graph gives are off by {off:.1%} of their size; at "
            f"most {FARTHEST:.0%} was expected: no file written"
        )
    return compare(expected, taken.result)


def _run(engine: ExactEngine, batch: Arrays) -> tuple[Array, Array]:
    ((result, own),) = engine.stream_exact([batch])
    return result.copy(), own.copy()  # what is given is lost with the next run


def _besides(engine: ExactEngine, averages: Array | np.float32, *, known: int = 0) -> Arrays:
    """Averages to take, or not; the first row and the last column of a tile do not count."""
    assert engine.averages is not None
    tile = engine.input.size
    shapes = averages_shapes(engine.averages, engine.input.batch, tile)
    rows, columns = (np.ones(shapes[name], np.float32) for name in ("rows", "columns"))
    rows[:, :, 0] = columns[..., -1] = 0
    given = np.broadcast_to(averages, shapes["averages"]).astype(np.float32)
    return given, np.full(shapes["known"], known, np.float32), rows, columns
