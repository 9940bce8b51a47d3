"""Passes over one plane of an image, until its tiles equal the whole image.

The first pass lets each tile take averages of its own and puts those of the kept parts together:
the whole image's, but for what wrong averages in earlier blocks changed. A further pass takes
them, and gives better ones. The halo decides how close tiles can come.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hat_deploy.engines.averages import ExactEngine
from hat_deploy.engines.base import Array, Arrays
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.geometry import Grid, Tile, counted
from hat_deploy.tiles import tiling

DEFAULT_PASSES = 2
"""The second is above 100 dB at a halo of 32; a third adds a few, and a fourth nothing."""
STILL = 1e-5
"""Averages that changed by no more, of the largest among them, stand still: 120 dB and above."""


class Averages:
    """What the tiles of one plane take, and what they give.

    Args:
        size: height and width of the image.
        grid: its tiles.
        engine: what computes them.
        passes: at most so many, from 2 up. One tile is the whole image, and takes one pass.
        given: averages of the whole image, (averages, channels, 1), where they are known.

    Raises:
        UsageError: fewer passes.
    """

    def __init__(
        self,
        size: tuple[int, int],
        grid: Grid,
        engine: ExactEngine,
        passes: int,
        *,
        given: Array | None = None,
    ) -> None:
        require_passes(passes)
        assert engine.averages is not None
        self._size, self._window, self._tile = size, engine.window, engine.input.size
        self._tiles = len(grid.tiles)
        self._left = 1 if self._tiles == 1 else passes
        self._given = given
        self._start_pass(engine.averages)

    def _start_pass(self, shape: tuple[int, int]) -> None:
        self._sum = np.zeros((*shape, 1), np.float64)
        self._area = self._done = 0

    @property
    def left(self) -> int:
        """Passes to come, the current one included."""
        return self._left

    @property
    def shown(self) -> bool:
        """Whether results of this pass may be the final ones."""
        return self._given is not None or self._left == 1

    def add(self, tile: Tile, own: Array) -> bool:
        """Take the averages that a tile gave.

        Args:
            own: (averages, channels, 1).

        Returns:
            Whether that was the last one, and another pass is to follow.

        Raises:
            CheckFailed: they are not finite.
        """
        if not np.isfinite(own).all():
            raise CheckFailed(
                "the engine returned averages that are not finite (NaN or infinity); a "
                "half-precision artifact of this checkpoint overflows: export it in fp32 or bf16"
            )
        rows, columns = self._counted(tile)
        area = len(rows) * len(columns)
        self._sum += own.astype(np.float64) * area
        self._area += area
        self._done += 1
        return self._done == self._tiles and self._another_pass()

    def besides(self, tile: Tile) -> Arrays:
        """What goes into an engine besides a tile; see :class:`ExactEngine`, without the batch."""
        marks = []
        for part, length in zip(self._counted(tile), self._tile, strict=True):
            mark = np.zeros(length, np.float32)
            mark[part.start : part.stop] = 1
            marks.append(mark)
        given = np.zeros(self._sum.shape, np.float32) if self._given is None else self._given
        known = np.full((1, 1, 1), self._given is not None, np.float32)
        return given, known, marks[0][None, :, None], marks[1][None, None, :]

    def _counted(self, tile: Tile) -> tuple[range, range]:
        height, width = self._size
        return (
            counted(tile.rows, height, self._window),
            counted(tile.columns, width, self._window),
        )

    def _another_pass(self) -> bool:
        found = (self._sum / self._area).astype(np.float32)
        before, self._given = self._given, found
        self._start_pass((found.shape[0], found.shape[1]))
        self._left -= 1
        if before is not None and np.abs(found - before).max() <= STILL * np.abs(found).max():
            self._left = 0
        return self._left > 0


def besides(parts: Sequence[tuple[Averages, Tile]], batch: int) -> Arrays:
    """What goes into an engine besides a batch of tiles, which repeats the last if not full."""
    found = [averages.besides(tile) for averages, tile in parts]
    found += [found[-1]] * (batch - len(found))
    return tuple(np.stack(arrays) for arrays in zip(*found, strict=True))


def settled(
    engine: ExactEngine, pixels: Array, grid: Grid, passes: int = DEFAULT_PASSES
) -> Averages:
    """Run all passes over an image but the last, for which everything is then known.

    Args:
        pixels: (H, W, C), uint8 or uint16, C as the engine's.

    Raises:
        UsageError: there are too few passes.
        CheckFailed: averages are not finite.
    """
    height, width = pixels.shape[:2]
    averages = Averages((height, width), grid, engine, passes)
    while averages.left > 1:
        for tiles in tiling.batches(grid.tiles, engine.input.batch):
            batch = tiling.gather(pixels, tiles, engine.input)
            beside = besides([(averages, tile) for tile in tiles], engine.input.batch)
            ((_, own),) = engine.stream_exact([(batch, *beside)])
            for tile, average in zip(tiles, own, strict=False):
                averages.add(tile, average)
    return averages


def passes_over(what: object, *, exact: bool, asked: int | None) -> int:
    """Passes over an image, at most; 1 where no averages are taken.

    Args:
        what: the artifact or engine, for a message.
        exact: whether it takes averages.
        asked: by the user; None: two.

    Raises:
        UsageError: passes were asked for where one is all, or there are too few.
    """
    if exact:
        require_passes(DEFAULT_PASSES if asked is None else asked)
        return DEFAULT_PASSES if asked is None else asked
    if asked is not None:
        raise UsageError(
            f"{what} takes no averages of the whole image, so one pass is all: leave passes out, "
            "or export the checkpoint with --exact"
        )
    return 1


def require_passes(passes: int) -> None:
    """Refuse fewer passes than collect averages and use them.

    Raises:
        UsageError: fewer than two.
    """
    if passes < 2:
        raise UsageError(
            f"passes is {passes}; at least 2 are needed, one to collect averages of the whole "
            "image and one to use them"
        )
