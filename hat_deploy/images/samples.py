"""Images to verify an artifact on: those that ship, the user's own, and seeded noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hat_deploy.errors import PictureError, UsageError, about_its_file
from hat_deploy.geometry import reflect_indices
from hat_deploy.images.picture import LUMA, SUFFIXES, Pixels
from hat_deploy.terminal.printable import display_name

SHIPPED = ("astronaut", "coffee")
"""What lies in ``pictures/``; where each comes from is written there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """An image and what to call it."""

    name: str
    pixels: Pixels
    """(H, W, C) uint8, C as the network's."""


def shipped(tile: tuple[int, int], window: int, channels: int) -> list[Sample]:
    """The images that ship, large enough for more than one tile.

    One that would fit into a single tile is continued by reflection along one axis until it
    takes two, so that a seam is always looked at; the axis alternates.

    Args:
        tile: height and width of a tile.
        window: the network's; what an image is longer than a tile where it is continued.
        channels: 1 or 3.
    """
    samples = []
    for number, name in enumerate(SHIPPED):
        sample = read(Path(__file__).parent / "pictures" / f"{name}.png", channels)
        if all(n <= side for n, side in zip(sample.pixels.shape, tile, strict=False)):
            axis = 1 - number % 2
            index = reflect_indices(sample.pixels.shape[axis], range(tile[axis] + window))
            pixels = np.ascontiguousarray(sample.pixels.take(index, axis))
            sample = Sample(name=f"{name}, continued", pixels=pixels)
        samples.append(sample)
    return samples


def noise(number: int, size: tuple[int, int], channels: int) -> list[Sample]:
    """``number`` images of uniform noise, the same every time."""
    shape = (*size, channels)
    return [
        Sample(
            name=f"noise {seed}",
            pixels=np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8),
        )
        for seed in range(number)
    ]


def middles(side: int, window: int, channels: int) -> Pixels:
    """The middle of each image that ships: (2, side, side, C) uint8."""
    pixels = []
    for sample in shipped((side, side), window, channels):
        top, left = ((length - side) // 2 for length in sample.pixels.shape[:2])
        pixels.append(sample.pixels[top : top + side, left : left + side])
    return np.stack(pixels)


def listed(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the images of each folder named, by name; subfolders are not entered.

    Raises:
        UsageError: a folder holds no images.
    """
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
        )
        if not inside:
            raise UsageError(
                f"no images found in the folder {display_name(path)} (subfolders are not entered)"
            )
        found += inside
    return found


@about_its_file
def read(path: Path, channels: int) -> Sample:
    """An image file as a network of that many channels takes it.

    Alpha is left out, 16 bits are reduced to 8, gray and colour become what the network knows.

    Raises:
        PictureError: it cannot be decoded; the message names it.
    """
    from hat_deploy import images

    try:
        pixels = images.decode(path).pixels
    except PictureError as error:
        raise PictureError(f"{display_name(path)}: {error}") from error
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    if channels == 1 and pixels.shape[2] == 3:
        pixels = np.rint(pixels @ LUMA).astype(np.uint8)[..., None]
    elif channels == 3 and pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return Sample(name=path.name, pixels=np.ascontiguousarray(pixels))
