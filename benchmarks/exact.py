"""How far tiles are from the whole image: plain, in passes, and with the whole's own averages.

    python benchmarks/exact.py                        the shipped model on the examples
    python benchmarks/exact.py --model hat.pth --images photo.png --side 192
    python benchmarks/exact.py --random               a HAT of 60 channels with random weights

Everything is computed by PyTorch in fp32, on float values that are not rounded; PSNR is in dB
with peak 1. ``exact`` takes the averages that earlier passes collected, ``given`` those of the
whole image: what it leaves is context beyond the halo.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from hat_deploy import images
from hat_deploy.artifact.resolve import checkpoint_named
from hat_deploy.engines.base import Array
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.geometry import Grid, round_up
from hat_deploy.metrics import compare
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.network import Network
from hat_deploy.tiles import tiling
from hat_deploy.tiles.averages import Averages, besides, settled

ROOT = Path(__file__).resolve().parent.parent
IMAGES = [
    ROOT / "examples" / "china.png",
    ROOT / "examples" / "flower.png",
    ROOT / "hat_deploy" / "images" / "pictures" / "coffee.png",
]
TILES = ["64/16", "128/16", "128/32"]
AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def main() -> None:
    """Print a table in Markdown."""
    options = _options()
    torch.manual_seed(0)
    network = _random() if options.random else load_network(checkpoint_named(options.model).path)
    network.freeze()
    print("| image | tile / halo | plain | exact, 2 passes | 3 passes | given | largest, given |")
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    for path in options.images:
        pixels = _pixels(path, options.side)
        whole, averages = run_whole(network, pixels)
        for text in options.tiles:
            side, halo = map(int, text.split("/"))
            found = run_tiles(network, pixels, side, halo, averages)
            differences = [compare(whole, result) for result in found]
            cells = " | ".join(f"{difference.psnr:.1f}" for difference in differences)
            name = f"{path.stem}, {pixels.shape[1]}x{pixels.shape[0]}"
            largest = differences[-1].max_abs
            print(f"| {name} | {side} / {halo} | {cells} | {largest:.1e} |", flush=True)


def run_tiles(network: HAT, pixels: Array, side: int, halo: int, averages: Array) -> list[Array]:
    """Plain, in two and three passes, and with the given averages; each CHW float32."""
    with TorchEngine(network, tile=(side, side), exact=True) as engine:
        height, width = pixels.shape[:2]
        grid = tiling.grid_for(engine, (height, width), halo)
        with TorchEngine(network, tile=(side, side)) as plain:
            results = [last_pass(plain, pixels, grid, None)]
        known = [settled(engine, pixels, grid, passes) for passes in (2, 3)]
        known.append(Averages((height, width), grid, engine, 2, given=averages))
        return results + [last_pass(engine, pixels, grid, found) for found in known]


def last_pass(engine: TorchEngine, pixels: Array, grid: Grid, known: Averages | None) -> Array:
    """The result in tiles, CHW float32, with averages that are known."""
    height, width, channels = pixels.shape
    scale = engine.output.size[0] // engine.input.size[0]
    result = np.empty((channels, scale * height, scale * width), np.float32)
    for tile in grid.tiles:
        batch = tiling.gather(pixels, [tile], engine.input)
        beside = () if known is None else besides([(known, tile)], 1)
        ((value, *_),) = engine.stream_exact([(batch, *beside)])
        kept, place = tiling.placement(tile, scale)
        result[:, *place] = value[0][:, *kept]
    return result


def run_whole(network: HAT, pixels: Array) -> tuple[Array, Array]:
    """The whole image at once, CHW float32, and the averages that it took."""
    height, width = pixels.shape[:2]
    window = network.config.window
    padded = round_up(height, window), round_up(width, window)
    with TorchEngine(network, tile=padded, exact=True) as engine:
        (tile,) = tiling.grid_for(engine, (height, width), 0).tiles
        grid = tiling.grid_for(engine, (height, width), 0)
        own = Averages((height, width), grid, engine, 2)
        batch = tiling.gather(pixels, [tile], engine.input)
        ((value, averages),) = engine.stream_exact([(batch, *besides([(own, tile)], 1))])
    scale = network.config.scale
    return value[0][:, : scale * height, : scale * width], averages[0]


def _random() -> HAT:
    """60 channels, 4 RHAGs of 6 HABs, x2; every block changes what the next one sees."""
    config = HATConfig.published(
        2, embed_dim=60, depths=(6,) * 4, num_heads=6, squeeze_factor=10, conv_scale=0.01
    )
    return randomise(HAT(config))


def randomise(network: AnyNetwork) -> AnyNetwork:
    """Give every parameter random values that keep the stream's size, and return the network."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(0.7 * noise / parameter[0].numel() ** 0.5)
    return network


def _pixels(path: Path, side: int | None) -> Array:
    pixels = images.decode(path).pixels
    return np.ascontiguousarray(pixels if side is None else pixels[:side, :side])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--model", default="hat-nano-x2", help="a checkpoint, or a shipped name")
    parser.add_argument("--random", action="store_true", help="a random HAT instead")
    parser.add_argument("--images", nargs="+", type=Path, default=IMAGES)
    parser.add_argument("--side", type=int, help="crop images to this side")
    parser.add_argument("--tiles", nargs="+", default=TILES, metavar="TILE/HALO")
    return parser.parse_args()


if __name__ == "__main__":
    main()
