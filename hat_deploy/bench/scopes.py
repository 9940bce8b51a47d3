"""The three scopes: what one timed call does, and how much work that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from hat_deploy import images
from hat_deploy.bench.contenders import Contender
from hat_deploy.bench.timing import Call
from hat_deploy.engines.base import Array, Engine
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.geometry import grid, image_size, reflect_indices
from hat_deploy.images import samples
from hat_deploy.terminal.printable import display_name
from hat_deploy.tiles import tiling
from hat_deploy.tiles.enlarger import Enlarger


class Scope(StrEnum):
    """How much around the engine is timed."""

    CALL = "engine call"
    TILES = "tile loop"
    FILE = "file to file"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one call of a scope does."""

    tiles: int
    """Tiles of the batch, or of the image."""
    pixels: int
    """LR pixels: of whole tiles for an engine call, of the image (no halo) otherwise."""
    multi_adds: int
    """All that is computed: halos, and what fills a last batch, included."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedImage:
    """The image that is upscaled."""

    path: Path
    pixels: Array
    """(H, W, 3), uint8 or uint16: the content of ``path``."""
    origin: str
    """For people: where it comes from."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A contender, opened."""

    contender: Contender
    engine: Engine


def read_sample(path: Path) -> TimedImage:
    """A user's image.

    Raises:
        PictureError: it cannot be decoded.
        UsageError: it is gray or has alpha, which would be more or less than one pass.
    """
    try:
        pixels = images.decode(path).pixels
    except PictureError as error:
        raise PictureError(f"{display_name(path)}: {error}") from error
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels != 3:
        kind = "is gray" if channels == 1 else "has an alpha channel"
        raise UsageError(f"{display_name(path)} {kind}: bench takes RGB without alpha")
    size = image_size(*pixels.shape[:2])
    return TimedImage(path=path, pixels=pixels, origin=f"{display_name(path.name)}, {size}")


def make_sample(contender: Contender, folder: Path, batches: int = 1) -> TimedImage:
    """An image that ships, continued by reflection to a row of whole tiles.

    As many tiles as that many batches take, and at least two, so that no tile is computed for
    nothing. Written to ``folder`` as PNG.
    """
    count = max(2, batches * contender.batch)
    height, width = contender.tile
    width += (count - 1) * (width - 2 * contender.halo)
    name = samples.SHIPPED[0]
    shipped = samples.read(Path(samples.__file__).parent / "pictures" / f"{name}.png", 3).pixels
    rows = reflect_indices(shipped.shape[0], range(height))
    columns = reflect_indices(shipped.shape[1], range(width))
    pixels = np.ascontiguousarray(shipped[np.ix_(rows, columns)])
    path = folder / "sample.png"
    images.write(images.Picture(pixels=pixels), path)
    return TimedImage(
        path=path, pixels=pixels, origin=f"{name}, cut or continued to {image_size(height, width)}"
    )


def prepare(scope: Scope, entrant: Entrant, sample: TimedImage, folder: Path) -> tuple[Call, Work]:
    """What to time, and what it does.

    Args:
        folder: where results of the file scope go; one file an entrant, overwritten.
    """
    build: dict[Scope, Callable[[], Call]] = {
        Scope.CALL: lambda: _engine_call(entrant, sample),
        Scope.TILES: lambda: _tile_loop(entrant, sample),
        Scope.FILE: lambda: _file_to_file(entrant, sample, folder),
    }
    return build[scope](), work(scope, entrant.contender, sample.pixels.shape[:2])


def work(scope: Scope, contender: Contender, size: tuple[int, int]) -> Work:
    """Count it.

    Args:
        size: height and width of the image.
    """
    config, batch = contender.config, contender.batch
    height, width = contender.tile
    per_tile = config.cost(height, width).multi_adds
    if scope is Scope.CALL:
        return Work(tiles=batch, pixels=batch * height * width, multi_adds=batch * per_tile)
    layout = grid(size, contender.tile, contender.halo, config.window)
    passes = 1 if config.channels == 3 else 3
    tiles = len(layout.tiles)
    computed = batch * len(list(tiling.batches(layout.tiles, batch)))
    return Work(
        tiles=passes * tiles,
        pixels=size[0] * size[1],
        multi_adds=passes * computed * per_tile,
    )


def _engine_call(entrant: Entrant, sample: TimedImage) -> Call:
    """One batch of the image's own tiles: zeros could run faster than real data."""
    engine = entrant.engine
    layout = tiling.grid_for(engine, sample.pixels.shape[:2], entrant.contender.halo)
    first = next(tiling.batches(layout.tiles, engine.input.batch))
    pixels = np.ascontiguousarray(sample.pixels[..., : engine.input.channels])
    batch = tiling.gather(pixels, first, engine.input)
    return lambda: engine.run(batch)


def _tile_loop(entrant: Entrant, sample: TimedImage) -> Call:
    upscaler = Enlarger(entrant.engine, halo=entrant.contender.halo)
    return lambda: upscaler.upscale(sample.pixels)


def _file_to_file(entrant: Entrant, sample: TimedImage, folder: Path) -> Call:
    upscaler = Enlarger(entrant.engine, halo=entrant.contender.halo)
    target = folder / f"{entrant.contender.label}.png".replace(" ", "-")

    def call() -> None:
        picture = images.decode(sample.path)
        images.write(replace(picture, pixels=upscaler.upscale(picture.pixels)), target)

    return call
