"""Tile and halo: what a useful pixel costs, and what cutting into tiles changes.

The shipped model in OpenVINO on a photograph: for each tile and halo, the time of all its tiles
over the picture's pixels, in turns, and the PSNR of the reference in such tiles against the
reference on the whole picture. Prints a Markdown table.

    python benchmarks/tiles.py [--picture FILE] [--tiles 64 128 256] [--halos 0 16 32]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from hat_deploy import images
from hat_deploy.artifact import zoo
from hat_deploy.engines import open_artifact
from hat_deploy.engines.base import Array, Engine
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.export.to_onnx import ExportOptions, export_onnx
from hat_deploy.files import sha256
from hat_deploy.geometry import halos, round_up
from hat_deploy.metrics import compare
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.hat.network import HAT
from hat_deploy.tiles import tiling
from hat_deploy.tiles.enlargement import Enlargement
from hat_deploy.tiles.streaming import One, stream

EXAMPLE = Path(__file__).parent.parent / "examples" / "flower.png"


def engine(network: HAT, checkpoint: Path, side: int, folder: Path) -> Engine:
    path = folder / f"{side}.onnx"
    export_onnx(
        network,
        path,
        ExportOptions(tile=(side, side)),
        model=zoo.DEFAULT,
        checkpoint_sha256=sha256(checkpoint),
    )
    return open_artifact(path)


def seconds(running: Engine, picture: Array, halo: int) -> float:
    """The engine's own time for all tiles of the picture."""
    layout = tiling.grid_for(running, picture.shape[:2], halo)
    batches = [
        tiling.gather(picture, tiles, running.input)
        for tiles in tiling.batches(layout.tiles, running.input.batch)
    ]
    started = time.perf_counter()
    for _ in running.stream(batches):
        pass
    return time.perf_counter() - started


def enlarge(picture: Array, running: Engine, halo: int) -> Array:
    enlargement = Enlargement(picture, running, halo)
    for _ in stream(One(enlargement)):
        pass
    return enlargement.result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=EXAMPLE)
    parser.add_argument("--tiles", type=int, nargs="+", default=[64, 128, 192, 256, 320])
    parser.add_argument("--halos", type=int, nargs="+", default=[0, 16, 32, 48])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    checkpoint = zoo.find(zoo.DEFAULT).checkpoint
    network = load_network(checkpoint)
    window = network.config.window_size
    picture = images.decode(options.picture).pixels
    deep = picture.astype(np.uint16) * 257  # so that the result's rounding hides no difference
    height, width = picture.shape[:2]
    padded = (round_up(height, window), round_up(width, window))
    pairs = [(s, h) for s in options.tiles for h in options.halos if h in halos(s, window)]
    with tempfile.TemporaryDirectory() as folder:
        running = {s: engine(network, checkpoint, s, Path(folder)) for s in options.tiles}
        times = {pair: [] for pair in pairs}
        for _ in range(options.rounds):
            for side, halo in pairs:
                times[side, halo].append(seconds(running[side], picture, halo))
        whole = enlarge(deep, TorchEngine(network, tile=padded), 0) / 65535
        errors = {}
        for side, halo in pairs:
            tiled = enlarge(deep, running[side], halo) / 65535
            errors[side, halo] = compare(whole, tiled)
    print(f"{zoo.DEFAULT}, {width}x{height}, {running[options.tiles[0]].name}")
    print(f"least of {options.rounds} rounds in turns; reference: torch {torch.__version__}\n")
    print("| tile | halo | microseconds a useful pixel | dB against the whole picture | largest |")
    print("|---:|---:|---:|---:|---:|")
    for side, halo in pairs:
        cost = min(times[side, halo]) / (height * width) * 1e6
        error = errors[side, halo]
        print(f"| {side} | {halo} | {cost:.2f} | {error.psnr:.1f} | {error.max_abs:.1e} |")


if __name__ == "__main__":
    main()
