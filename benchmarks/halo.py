"""What context beyond a halo is worth: networks of several depths, in tiles against the whole.

The shipped model, and HATs and SwinIRs of 60 channels with random weights, on a strip of china of
192x64 that is cut once, into tiles of 128x64. PSNR in dB with peak 1, and the largest difference
of 255. ``given`` takes channel attention's averages from the whole image, so that only context is
missing. PyTorch in fp32 on floats.

    python benchmarks/halo.py [--networks shipped HAT-1x6 HAT-4x6 SwinIR-6x6] [--halos 8 16 24 32]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from exact import IMAGES, last_pass, randomise, run_whole

from hat_deploy import images
from hat_deploy.artifact import zoo
from hat_deploy.engines.base import Array
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.metrics import Difference, compare
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.network import Network
from hat_deploy.networks.swinir.config import SwinIRConfig
from hat_deploy.networks.swinir.network import SwinIR
from hat_deploy.tiles import tiling
from hat_deploy.tiles.averages import Averages

NETWORKS = ["shipped", "HAT-1x6", "HAT-2x6", "HAT-4x6", "HAT-6x6", "SwinIR-4x6", "SwinIR-6x6"]
TILE = (64, 128)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--halos", nargs="+", type=int, default=[8, 16, 24, 32], metavar="HALO")
    options = parser.parse_args()
    pixels = np.ascontiguousarray(images.decode(IMAGES[0]).pixels[100:164, 64:256])
    print("| network | " + " | ".join(map(str, options.halos)) + " |")
    print("|---" * (1 + len(options.halos)) + "|", flush=True)
    for name in options.networks:
        network = named(name).freeze()
        cells = " | ".join(row(network, pixels, options.halos))
        print(f"| {name} | {cells} |", flush=True)


def named(name: str) -> Network:
    """``shipped``, or groups and blocks of each: ``HAT-4x6``."""
    if name == "shipped":
        return load_network(zoo.find(zoo.DEFAULT).checkpoint)
    torch.manual_seed(0)
    kind, _, depth = name.partition("-")
    groups, blocks = map(int, depth.split("x"))
    depths, heads = (blocks,) * groups, (6,) * groups
    if kind == "SwinIR":
        return randomise(
            SwinIR(
                SwinIRConfig(
                    scale=2, embed_dim=60, depths=depths, num_heads=heads, mlp_channels=120
                )
            )
        )
    return randomise(
        HAT(HATConfig.published(2, embed_dim=60, depths=depths, num_heads=6, squeeze_factor=10))
    )


def row(network: Network, pixels: Array, halos: list[int]) -> list[str]:
    """By halo: plain tiles, and with given averages where the network takes any."""
    size = pixels.shape[:2]
    averages = None
    if isinstance(network, HAT) and network.averages is not None:
        whole, averages = run_whole(network, pixels)
    else:
        with TorchEngine(network, tile=size) as engine:
            whole = last_pass(engine, pixels, tiling.grid_for(engine, size, 0), None)
    cells = []
    for halo in halos:
        with TorchEngine(network, tile=TILE) as engine:
            grid = tiling.grid_for(engine, size, halo)
            found = figures(compare(whole, last_pass(engine, pixels, grid, None)))
        if averages is not None:
            with TorchEngine(network, tile=TILE, exact=True) as engine:
                known = Averages(size, grid, engine, 2, given=averages)
                given = compare(whole, last_pass(engine, pixels, grid, known))
            found += f"; given {figures(given)}"
        cells.append(found)
    return cells


def figures(found: Difference) -> str:
    """PSNR, and the largest difference of 255."""
    return f"{found.psnr:.1f}, {found.max_abs * 255:.1f}"


if __name__ == "__main__":
    main()
