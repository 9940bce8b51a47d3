"""What the folder pipeline adds to the engine: wall time against the engine's own time.

A folder of real photographs, cut from the images that scikit-image and scikit-learn bring and
from examples/, is upscaled twice in turns: by the pipeline (files to files, journal included), and
by the engine alone, which is given the very batches that the pipeline makes of these images, cut
beforehand. The ratio of the two is what decoding, cutting, putting together, encoding and writing
cost where they could not be hidden; the target is 1.05 where the engine is the bottleneck.

    python benchmarks/pipeline.py [--engine hat.onnx] [--device cuda] [--pictures 60] [--rounds 3]

A table for people, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets

from hat_deploy import Upscaler, folders, images, machine
from hat_deploy.artifact import zoo
from hat_deploy.engines.base import Array
from hat_deploy.folders import job_list
from hat_deploy.folders.workers import threads
from hat_deploy.geometry import tile_size
from hat_deploy.tiles.enlargement import Piece, gather

PHOTOGRAPHS = ("astronaut", "cat", "chelsea", "coffee", "rocket")
SIZES = ((320, 480), (480, 320), (256, 256), (200, 300), (300, 451))


def photographs() -> list[Array]:
    examples = Path(__file__).parents[1] / "examples"
    found = [np.asarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    found += list(sklearn.datasets.load_sample_images().images)
    return found + [images.decode(path).pixels for path in sorted(examples.glob("*.png"))]


def make_folder(folder: Path, count: int) -> int:
    """Crops of the photographs as PNG and JPEG; returns their pixels."""
    chance = np.random.default_rng(0)
    originals = photographs()
    total = 0
    for number in range(count):
        pixels = originals[number % len(originals)]
        height, width = (
            min(a, b) for a, b in zip(SIZES[number % len(SIZES)], pixels.shape[:2], strict=True)
        )
        top = int(chance.integers(pixels.shape[0] - height + 1))
        left = int(chance.integers(pixels.shape[1] - width + 1))
        crop = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        suffix = "jpg" if number % 2 else "png"
        images.write(images.Picture(pixels=crop), folder / f"{number:04}.{suffix}")
        total += height * width
    return total


def batches(upscaler: Upscaler, folder: Path) -> list[Array]:
    """Every batch of the folder's tiles, full but for the last."""
    spec = upscaler.engine.input
    pieces: list[Piece] = []
    for path in sorted(folder.iterdir()):
        pieces += upscaler.enlargement(images.decode(path).pixels).pieces()
    return [gather(pieces[i : i + spec.batch], spec) for i in range(0, len(pieces), spec.batch)]


def engine_alone(upscaler: Upscaler, ready: list[Array]) -> float:
    started = time.perf_counter()
    for _ in upscaler.engine.stream(iter(ready)):
        pass
    return time.perf_counter() - started


def pipeline(upscaler: Upscaler, folder: Path, output: Path) -> float:
    listed = job_list.list_jobs([folder], mark="", output=output, recursive=False)
    started = time.perf_counter()
    with closing(folders.run(listed.jobs, upscaler, folders.Options(overwrite=True))) as outcomes:
        for outcome in outcomes:
            assert isinstance(outcome, folders.Done), outcome
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default=zoo.DEFAULT, help="artifact, checkpoint or model")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="of the engine on a CPU")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as place,
        Upscaler(given.engine, device=given.device, threads=given.threads) as upscaler,
    ):
        folder = Path(place, "in")
        pixels = make_folder(folder, given.pictures)
        ready = batches(upscaler, folder)
        engine_alone(upscaler, ready[:2])
        alone, whole = [], []
        for _ in range(given.rounds):
            alone.append(engine_alone(upscaler, ready))
            whole.append(pipeline(upscaler, folder, Path(place, "out")))
        report(upscaler, given, pixels, len(ready), alone, whole)


def report(
    upscaler: Upscaler,
    given: argparse.Namespace,
    pixels: int,
    count: int,
    alone: list[float],
    whole: list[float],
) -> None:
    ratios = [w / a for w, a in zip(whole, alone, strict=True)]
    decoders, encoders = threads(machine.usable_cores())
    found = {
        "engine": upscaler.engine.name,
        "tile": list(upscaler.engine.input.size),
        "batch": upscaler.engine.input.batch,
        "pictures": given.pictures,
        "megapixels": round(pixels / 1e6, 3),
        "batches": count,
        "codec_threads": [decoders, encoders],
        "engine_seconds": alone,
        "pipeline_seconds": whole,
        "ratio": statistics.median(ratios),
        "load": machine.load(),
        "hardware": machine.examine().to_dict(),
        "versions": machine.versions(),
    }
    print(f"{given.pictures} photographs, {pixels / 1e6:.1f} MP, {count} batches")
    tile = tile_size(upscaler.engine.input.size)
    print(f"engine    {upscaler.engine.name}, batch {found['batch']}, tile {tile}")
    print(f"alone     {statistics.median(alone):8.2f} s")
    print(f"pipeline  {statistics.median(whole):8.2f} s, {decoders} decoding, {encoders} encoding")
    print(f"ratio     {found['ratio']:8.3f}  (each round: {', '.join(f'{r:.3f}' for r in ratios)})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
