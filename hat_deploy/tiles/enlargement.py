"""One image on its way through an engine: split into planes, and each plane into tiles.

A plane is as many channels as the engine takes at once; a piece is one tile of one plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hat_deploy.engines.averages import exact
from hat_deploy.engines.base import Array, Arrays, Engine, TensorSpec, scale_of, sized
from hat_deploy.errors import CheckFailed, PictureError
from hat_deploy.geometry import Grid, Tile
from hat_deploy.images.picture import LUMA
from hat_deploy.images.scratch import release
from hat_deploy.tiles import tiling
from hat_deploy.tiles.averages import DEFAULT_PASSES, Averages, besides

_ROWS = 256
"""Rows of a result that are filled before a mapped one is let go of."""

Allocate = Callable[[tuple[int, ...], tiling.DType], Array]
"""Makes the array that a result is written into, from its shape and dtype."""


@dataclass(frozen=True, eq=False)
class Plane:
    """As many channels of an image as the engine takes, and where their result goes."""

    source: Array
    """(H, W, C), C as the engine's; a view of the image."""
    target: Array
    """(scale * H, scale * W, C), or without C where channels are to become one gray again; a
    view of the result."""
    grid: Grid
    averages: Averages | None = None
    """What its tiles take and give, where the engine is exact."""

    def write(self, value: Array, tile: Tile, spec: TensorSpec, peak: float | None = None) -> None:
        """Put one computed tile into the result.

        Args:
            peak: of a tile of bytes, its largest magnitude before it was rounded, if known.

        Raises:
            CheckFailed: a value is not finite, or was not before it was rounded.
        """
        if peak is not None and not np.isfinite(peak):
            raise tiling.not_finite()
        scale = len(self.target) // len(self.source)
        _, place = tiling.placement(tile, scale)
        target = self.target[place]
        if target.ndim == 2 and spec.channels == 1:
            target = target[..., None]
        if target.ndim == 3:
            tiling.finish(value, tile, scale, spec, target)
            return
        samples = np.empty((*target.shape, spec.channels), target.dtype)
        tiling.finish(value, tile, scale, spec, samples)
        target[...] = np.rint(samples @ LUMA)


class Piece(NamedTuple):
    """One tile on its way through an engine."""

    picture: Enlargement
    plane: Plane
    tile: Tile


class Enlargement:
    """One image while it is being enlarged.

    Gray images go through a colour network as three equal channels, colour images through
    a gray network channel by channel. Alpha is enlarged as a gray image of its own, unless it
    is the same everywhere.

    Args:
        pixels: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16; 1x1 and up.
        engine: what computes it; float input for uint16.
        halo: see :func:`hat_deploy.geometry.grid`.
        passes: over an image, at most, where the engine is exact; from 2 up.
        allocate: makes the result's array.
        wider: gives an engine of more range, for tiles of the same size that are not finite.

    Raises:
        ValueError: another shape or dtype.
        PictureError: the image has 16 bits, the engine takes bytes.
        UsageError: the halo does not fit the engine's tile, or there are too few passes.
    """

    def __init__(
        self,
        pixels: Array,
        engine: Engine,
        halo: int,
        *,
        passes: int = DEFAULT_PASSES,
        allocate: Allocate = np.empty,
        wider: Callable[[], Engine] | None = None,
    ) -> None:
        require_picture(pixels)
        if pixels.dtype == np.uint16 and engine.input.dtype == "uint8":
            raise PictureError(
                "a 16-bit image needs an artifact with float input and output; "
                "this one takes bytes: export it with --io float"
            )
        scale = scale_of(engine)
        height, width = pixels.shape[:2]
        self.engine = engine
        self.result = allocate((height * scale, width * scale, *pixels.shape[2:]), pixels.dtype)
        self.done = 0
        self.again = 0
        """Tiles that were computed again by the wider engine."""
        self.error: CheckFailed | None = None
        self._wider = wider
        grid = tiling.grid_for(engine, (height, width), halo)
        pairs = _pairs(pixels, self.result, engine.input.channels)
        taking = exact(engine)
        self._planes = [
            Plane(
                source,
                target,
                grid,
                None if taking is None else Averages((height, width), grid, taking, passes),
            )
            for source, target in pairs
        ]
        self.total = sum(map(_tiles_of, self._planes))
        self.padded = tiling.padded(engine, (height, width))
        """Whether it is smaller than the engine's tile, so that its edges come out otherwise."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is written into the result: it is whole, or it failed."""
        return self.done == self.total or self.error is not None

    def abandon(self) -> None:
        """Compute no more of it: nobody wants the result any longer."""
        self.error = self.error or CheckFailed("it was not wanted any more")

    def pieces(self) -> Iterator[Piece]:
        """Every tile, plane by plane."""
        for plane in self._planes:
            for tile in plane.grid.tiles:
                yield Piece(self, plane, tile)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user is to know of how the result was computed."""
        if not self.again:
            return ()
        return (
            f"{self.again} of {self.total} tiles were not finite in half precision and were "
            "computed again in fp32",
        )

    def accept(
        self, piece: Piece, value: Array, own: Array | None = None, *, peak: float | None = None
    ) -> list[Piece]:
        """Take a computed tile; one that is not finite ends the image with ``error``, unless the
        wider engine computes it.

        Args:
            own: its averages, where the engine is exact.
            peak: of bytes; see :attr:`hat_deploy.engines.base.Engine.peaks`.

        Returns:
            The tiles of the plane's next pass, where this was the last of one.

        Raises:
            ArtifactError: the wider engine failed.
        """
        if self.error is not None:
            return []
        plane = piece.plane
        try:
            if plane.averages is None or plane.averages.shown:
                self._write(piece, value, peak)
            again = self._add(plane, piece.tile, own)
        except CheckFailed as error:
            self.error = error
            return []
        self.done += 1
        return [piece._replace(tile=tile) for tile in plane.grid.tiles] if again else []

    def _write(self, piece: Piece, value: Array, peak: float | None) -> None:
        try:
            piece.plane.write(value, piece.tile, self.engine.output, peak)
        except CheckFailed:
            if self._wider is None:
                raise
            self._compute_again(piece, self._wider())

    def _compute_again(self, piece: Piece, engine: Engine) -> None:
        engine = sized(engine, self.engine.input.size)
        value = engine.run(gather([piece], engine.input))[0]
        peak = None if engine.peaks is None else engine.peaks[0]
        piece.plane.write(value, piece.tile, engine.output, peak)
        self.again += 1

    def _add(self, plane: Plane, tile: Tile, own: Array | None) -> bool:
        """Whether another pass over the plane follows."""
        if plane.averages is None or own is None:
            return False
        before = _tiles_of(plane)
        again = plane.averages.add(tile, own)
        if plane.averages.left == 0:
            self.total -= before - len(plane.grid.tiles)  # averages stood still
        return again


def _tiles_of(plane: Plane) -> int:
    """Tiles to compute, those of all passes to come included."""
    return len(plane.grid.tiles) * (1 if plane.averages is None else plane.averages.left)


def gather(pieces: list[Piece], spec: TensorSpec) -> Array:
    """Tiles of one or several images as a batch; a batch that is not full repeats its last tile."""
    return tiling.gather_from([(piece.plane.source, piece.tile) for piece in pieces], spec)


def gather_averages(pieces: list[Piece], spec: TensorSpec) -> Arrays:
    """What an exact engine takes besides :func:`gather`'s batch."""
    parts = [(piece.plane.averages, piece.tile) for piece in pieces]
    return besides([(found, tile) for found, tile in parts if found is not None], spec.batch)


def require_picture(pixels: object) -> None:
    """Refuse an array that is not an image.

    Raises:
        TypeError: it is no array.
        ValueError: another shape than (H, W), (H, W, 3) or (H, W, 4), or another dtype than
            uint8 or uint16.
    """
    if not isinstance(pixels, np.ndarray):
        kind = f"{type(pixels).__module__}.{type(pixels).__qualname__}".removeprefix("builtins.")
        raise TypeError(
            f"pixels are of type {kind}; a numpy array was expected: upscale_file takes the path "
            "of an image, and numpy.asarray makes an array of a Pillow image"
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {pixels.dtype}; uint8 or uint16 was expected")
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] not in (3, 4)):
        raise ValueError(f"pixels are {pixels.shape}; (H, W), (H, W, 3) or (H, W, 4) expected")
    if 0 in pixels.shape:
        raise ValueError(f"pixels are {pixels.shape}: there are none")


def _pairs(pixels: Array, result: Array, channels: int) -> list[tuple[Array, Array]]:
    """Source and target of each plane; constant alpha is written at once and has none."""
    if pixels.ndim == 2:
        return [_gray(pixels, result, channels)]
    pairs = []
    if channels == 3:
        pairs.append((pixels[..., :3], result[..., :3]))
    else:
        pairs += [_gray(pixels[..., i], result[..., i], channels) for i in range(3)]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        if all((row == alpha[0, 0]).all() for row in alpha):
            for top in range(0, len(result), _ROWS):
                result[top : top + _ROWS, :, 3] = alpha[0, 0]
                release(result)
        else:
            pairs.append(_gray(alpha, result[..., 3], channels))
    return pairs


def _gray(source: Array, target: Array, channels: int) -> tuple[Array, Array]:
    return np.broadcast_to(source[..., None], (*source.shape, channels)), target
