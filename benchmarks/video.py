"""What a clip adds to the engine: wall time against the engine's own time.

A clip that pans over photographs is upscaled twice in turns: as a file (decoding, conversion,
tiles, encoding, putting together, journal), and by the engine alone, which is given the very
batches that the clip makes, cut beforehand. The target for the ratio is 1.05 where the engine is
the bottleneck. The share of the run that its own engine calls took is printed too: it is measured
in the same seconds, so that a busy machine disturbs both alike.

    python benchmarks/video.py [--engine hat.onnx] [--frames 100] [--size 180x320] [--rounds 3]

A table for people, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
from pipeline import photographs

from hat_deploy import Upscaler, folders, machine
from hat_deploy.artifact import zoo
from hat_deploy.cli.options import parse_tile
from hat_deploy.engines.base import Array, EngineBase
from hat_deploy.folders import job_list
from hat_deploy.tiles.enlargement import Piece, gather
from hat_deploy.video.colour import rgb_of
from hat_deploy.video.source import Source


class Timed(EngineBase):
    """Passes batches on and counts the seconds that they take."""

    def __init__(self, engine: EngineBase) -> None:
        self._engine = engine
        self._input, self._output = engine.input, engine.output
        self._window, self._on_gpu = engine.window, engine.on_gpu
        self.seconds = 0.0

    @property
    def name(self) -> str:
        return self._engine.name

    def run(self, batch: Array) -> Array:
        began = time.perf_counter()
        result = self._engine.run(batch)
        self.seconds += time.perf_counter() - began
        return result

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        return map(self.run, batches)

    def at(self, size: tuple[int, int], *, many: bool = False) -> Timed | None:
        found = self._engine.at(size, many=many)
        if found is None:
            return None
        timed = Timed(found)
        MADE.append(timed)
        return timed


MADE: list[Timed] = []
"""Engines for other sizes of tile, which count for themselves."""


def make_clip(path: Path, frames: int, size: tuple[int, int]) -> None:
    """H.264 with B-frames; every frame differs from the one before."""
    height, width = size
    found = [image for image in photographs() if image.ndim == 3]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "16"})
        stream.height, stream.width = size
        for number in range(frames):
            image = found[number * 4 // frames % len(found)]
            rows = np.arange(height) % len(image)
            columns = (np.arange(width) + 2 * number) % image.shape[1]
            pixels = np.ascontiguousarray(image[np.ix_(rows, columns)][..., :3])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        out.mux(stream.encode(None))


def batches(upscaler: Upscaler, clip: Path) -> list[Array]:
    """Every batch of the clip's tiles, full but for the last."""
    pieces: list[Piece] = []
    with Source(clip) as source:
        facts = source.facts
        for frame in source.frames():
            pixels = rgb_of(frame.planes, facts.layout, facts.colour)
            pieces += upscaler.enlargement(pixels).pieces()
    spec = pieces[0].picture.engine.input
    return [gather(pieces[i : i + spec.batch], spec) for i in range(0, len(pieces), spec.batch)]


def engine_alone(upscaler: Upscaler, size: tuple[int, int], ready: list[Array]) -> float:
    engine = upscaler.engine_for(np.dtype(np.uint8), size)
    began = time.perf_counter()
    for _ in engine.stream(iter(ready)):
        pass
    return time.perf_counter() - began


def whole_clip(upscaler: Upscaler, clip: Path, output: Path) -> float:
    listed = job_list.list_jobs([clip], mark="-x2", output=output, recursive=False, overwrite=True)
    began = time.perf_counter()
    options = folders.Options(overwrite=True)
    with closing(folders.run_list(listed, upscaler, options)) as outcomes:
        assert all(isinstance(outcome, folders.Done) for outcome in outcomes)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default=zoo.DEFAULT, help="artifact, checkpoint or model")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="of the engine on a CPU")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", default="180x320", help="height x width")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    size = parse_tile(given.size)
    assert size is not None
    with (
        tempfile.TemporaryDirectory() as place,
        Upscaler(given.engine, device=given.device, threads=given.threads) as opened,
    ):
        assert isinstance(opened.engine, EngineBase)
        timed = Timed(opened.engine)
        opened.engine = timed
        clip = Path(place, "clip.mp4")
        make_clip(clip, given.frames, size)
        ready = batches(opened, clip)
        engine_alone(opened, size, ready[:2])
        alone, whole, inside = [], [], []
        for _ in range(given.rounds):
            alone.append(engine_alone(opened, size, ready))
            before = sum(engine.seconds for engine in (timed, *MADE))
            whole.append(whole_clip(opened, clip, Path(place, "out")))
            inside.append(sum(engine.seconds for engine in (timed, *MADE)) - before)
        report(opened, given, len(ready), alone, whole, inside)


def report(
    upscaler: Upscaler,
    given: argparse.Namespace,
    count: int,
    alone: list[float],
    whole: list[float],
    inside: list[float],
) -> None:
    ratios = [w / a for w, a in zip(whole, alone, strict=True)]
    own = [w / i for w, i in zip(whole, inside, strict=True)]
    found = {
        "engine": upscaler.engine.name,
        "frames": given.frames,
        "size": given.size,
        "batches": count,
        "engine_seconds": alone,
        "clip_seconds": whole,
        "own_engine_seconds": inside,
        "ratio": statistics.median(ratios),
        "ratio_to_own_calls": statistics.median(own),
        "load": machine.load(),
        "hardware": machine.examine().to_dict(),
        "versions": machine.versions(),
    }
    print(f"{given.frames} frames of {given.size}, {count} batches, {upscaler.engine.name}")
    print(f"alone     {statistics.median(alone):8.2f} s")
    print(f"clip      {statistics.median(whole):8.2f} s")
    print(f"ratio     {found['ratio']:8.3f}  (each round: {', '.join(f'{r:.3f}' for r in ratios)})")
    print(f"own calls {found['ratio_to_own_calls']:8.3f}  ({', '.join(f'{r:.3f}' for r in own)})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
