"""What tiles change: small images, tiles with halos, and pixels computed for nothing.

The shipped model against the reference on the whole image, PSNR in dB with peak 1:

- images smaller than the tile, padded up to it as an artifact of one size does it, and at their
  own size as one of any size does it;
- larger images in tiles with halos;
- pixels computed for each of the image's own at 1080p, at the default tile and at `--tile auto`.

Prints Markdown tables.

    python benchmarks/tiling.py [--tiles 64/16 128/16 128/32 256/0 256/16] [--memory 8G]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import hat_deploy
from hat_deploy import images
from hat_deploy.artifact import zoo
from hat_deploy.engines.base import Array, Engine, EngineBase
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.geometry import (
    default_halo,
    default_tile,
    fitted,
    format_size,
    grid,
    padded_size,
)
from hat_deploy.machine import parse_bytes
from hat_deploy.metrics import Difference, compare
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.hat.config import VARIANTS
from hat_deploy.networks.hat.network import HAT
from hat_deploy.tiles.choice import choose, usual_tile
from hat_deploy.tiles.enlargement import Enlargement
from hat_deploy.tiles.streaming import One, stream

FULL_HD = (1080, 1920)


class OneSize(EngineBase):
    """An engine that computes one size only, as every artifact once did."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine = engine
        self._input, self._output = engine.input, engine.output
        self._window = engine.window

    @property
    def name(self) -> str:
        return self._engine.name

    def run(self, batch: Array) -> Array:
        return self._engine.run(batch)


def photographs() -> dict[str, Array]:
    """(H, W, 3) uint8, at most 320 pixels wide."""
    here = Path(__file__).parent.parent
    files = {
        "china": here / "examples" / "china.png",
        "flower": here / "examples" / "flower.png",
        "coffee": Path(hat_deploy.__file__).parent / "images" / "pictures" / "coffee.png",
    }
    return {name: images.decode(file).pixels[:213, :320] for name, file in files.items()}


def small(pictures: dict[str, Array]) -> dict[str, Array]:
    """China as it is, and pieces of the images in sizes of benchmarks' small images."""
    found = {"china, 320x213": pictures["china"]}
    for side in (48, 64, 128):
        for name, pixels in pictures.items():
            found[f"{name}, {side}x{side}"] = pixels[60 : 60 + side, 100 : 100 + side]
    return found


def enlarge(pixels: Array, engine: Engine, halo: int) -> Array:
    """In 16 bits, so that rounding hides nothing; as (H, W, 3) in [0, 1]."""
    enlargement = Enlargement(pixels.astype(np.uint16) * 257, engine, halo)
    for _ in stream(One(enlargement)):
        pass
    return enlargement.result / np.float32(65535)


def whole(pixels: Array, reference: TorchEngine) -> Array:
    size = padded_size(pixels.shape[:2], reference.window)
    return enlarge(pixels, reference.at(size), 0)


def figures(found: Difference) -> str:
    psnr = "equal" if found.max_abs == 0 else f"{found.psnr:.1f}"
    return f"{psnr} | {found.max_abs * 255:.2f}"


def print_small(pictures: dict[str, Array], network: HAT) -> None:
    window = network.config.window_size
    tile = default_tile(window)
    halo = default_halo(tile, window)
    with hat_deploy.Upscaler(zoo.DEFAULT) as upscaler:
        print(f"\nImages smaller than the tile, {upscaler.engine.name}\n")
        print("| image | padded, dB | largest of 255 | own size, dB | largest of 255 |")
        print("|---|---:|---:|---:|---:|")
        reference = TorchEngine(network, tile=tile)
        for name, pixels in small(pictures).items():
            expected = whole(pixels, reference)
            before = compare(expected, enlarge(pixels, OneSize(reference), halo))
            deep = pixels.astype(np.uint16) * 257
            after = compare(expected, upscaler.upscale(deep) / np.float32(65535))
            print(f"| {name} | {figures(before)} | {figures(after)} |", flush=True)


def print_tiles(pictures: dict[str, Array], network: HAT, tiles: list[str]) -> None:
    reference = TorchEngine(network, tile=default_tile(network.config.window_size))
    expected = {name: whole(pixels, reference) for name, pixels in pictures.items()}
    print(f"\nTiles against the whole image, {reference.name}: dB, largest of 255\n")
    print(f"| tile/halo | computed | {' | '.join(pictures)} |")
    print("|---|---:|" + "---:|" * len(pictures))
    for text in tiles:
        side, halo = map(int, text.split("/"))
        tile = (side, side)
        engine = OneSize(reference.at(tile))
        computed = waste(next(iter(pictures.values())).shape[:2], tile, halo, engine.window)
        cells = []
        for name, pixels in pictures.items():
            difference = compare(expected[name], enlarge(pixels, engine, halo))
            cells.append(f"{difference.psnr:.1f}, {difference.max_abs * 255:.1f}")
        print(f"| {text} | {computed:.2f} | {' | '.join(cells)} |", flush=True)


def waste(size: tuple[int, int], tile: tuple[int, int], halo: int, window: int) -> float:
    """Pixels computed for each of the image's own."""
    tiles = len(grid(size, tile, halo, window).tiles)
    return tiles * tile[0] * tile[1] / (size[0] * size[1])


def print_waste(network: HAT, memory: int) -> None:
    print(f"\nPixels computed for each of its own, 1920x1080, {memory / 2**30:.1f} GiB\n")
    for name, config in ((zoo.DEFAULT, network.config), ("HAT", VARIANTS["HAT"])):
        window = config.window_size
        halo = default_halo(default_tile(window), window)
        one_size = waste(FULL_HD, default_tile(window), halo, window)
        own = fitted(FULL_HD, usual_tile(config, "openvino", 2 * memory), halo, window)
        usual = f"{waste(FULL_HD, own, halo, window):.2f} in {format_size(own)}"
        chosen = choose([FULL_HD], config, free=memory)
        print(f"{name}: one size {one_size:.2f}; default {usual}; --tile auto: {chosen.reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = ["64/16", "128/16", "128/32", "256/0", "256/16"]
    parser.add_argument("--tiles", nargs="+", default=usual, metavar="TILE/HALO")
    parser.add_argument("--memory", default="8G")
    options = parser.parse_args()
    network = load_network(zoo.find(zoo.DEFAULT).checkpoint)
    pictures = photographs()
    print_small(pictures, network)
    print_tiles(pictures, network, options.tiles)
    print_waste(network, parse_bytes("--memory", options.memory) or 0)


if __name__ == "__main__":
    main()
