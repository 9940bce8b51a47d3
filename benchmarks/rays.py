"""How busy a run on a Ray cluster keeps the engines of its workers: their time over the workers'.

As benchmarks/stores.py, with the same photographs in a bucket of an S3 server on this machine, and
a Ray cluster of several nodes, each a set of processes of this machine. A worker's time goes from
its first block of images to its last outcome; the time that its engine spends on batches is taken
inside it. The goal is 0.97 where the engine is the bottleneck.

    python benchmarks/rays.py [--engine hat.onnx] [--pictures 60] [--nodes 1] [--cores 2]

A table for people, then one line of JSON. Needs moto and Ray, of the extra dev.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import ray
from pipeline import make_folder
from stores import artifact_of, serving

from hat_deploy import Upscaler, folders, machine
from hat_deploy.artifact import zoo
from hat_deploy.folders.cluster.run import run
from hat_deploy.folders.places.remote import Remote
from hat_deploy.folders.places.stores import store_of
from hat_deploy.folders.search import Search
from hat_deploy.geometry import tile_size

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from rays import cluster

OPTIONS: dict[str, Any] = {
    "device": "cpu",
    "backend": "onnxruntime",
    "passes": None,
    "compute": None,
    "streams": 1,
    "self_test": True,
    "retry_wider": True,
}


def watch() -> None:
    """In each process of the cluster: write down when engines compute and blocks come and go."""
    from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine
    from hat_deploy.folders.cluster.line import Line

    folder = Path(os.environ["HAT_DEPLOY_TIMES"])

    def timed(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **more: Any) -> Any:
            started = time.time()
            try:
                return original(*arguments, **more)
            finally:
                with (folder / str(os.getpid())).open("a") as file:
                    file.write(f"{name} {started} {time.time()}\n")

        setattr(owner, name, call)

    timed(OnnxRuntimeEngine, "_compute")
    timed(Line, "put")
    timed(Line, "_settle")


def shares(folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds of each worker, and of its engine, once its first image had come."""
    found = {}
    for path in folder.iterdir():
        spans = defaultdict(list)
        for line in path.read_text().splitlines():
            name, started, ended = line.split()
            spans[name].append((float(started), float(ended)))
        if spans["put"]:
            first, last = spans["put"][0][0], spans["_settle"][-1][1]
            engine = sum(ended - start for start, ended in spans["_compute"] if start >= first)
            found[path.name] = (last - first, engine)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default=zoo.DEFAULT, help="an .onnx, or a model that ships")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2, help="of each node")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, serving(given.delay):
        times = Path(place, "times")
        times.mkdir()
        # Workers inherit these from their node.
        os.environ["HAT_DEPLOY_TIMES"] = str(times)
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        pixels = make_folder(Path(place, "in"), given.pictures)
        bucket = Remote("s3://photographs")
        store_of(bucket).files.mkdir(bucket.bucket)
        for path in Path(place, "in").iterdir():
            store_of(bucket).upload(path, bucket / f"in/{path.name}")
        search = Search(paths=(bucket / "in",), output=bucket / "out", mark="")
        with cluster(given.nodes, cores=given.cores) as address:
            hook = {"worker_process_setup_hook": watch}
            ray.init(address, log_to_driver=False, runtime_env=hook)
            upscaler = Upscaler(artifact_of(given.engine), backend="onnxruntime")
            how = {**OPTIONS, "threads": given.cores}
            tile = tile_size(upscaler.engine.input.size)
            started = time.perf_counter()
            outcomes = run(search, search.stream(), upscaler, how, folders.Options())
            with closing(outcomes):
                for outcome in outcomes:
                    assert isinstance(outcome, folders.Done), outcome
            whole = time.perf_counter() - started
        report(given, tile, pixels, whole, shares(times))


def report(
    given: argparse.Namespace,
    tile: str,
    pixels: int,
    whole: float,
    workers: dict[str, tuple[float, float]],
) -> None:
    busy = [engine / seconds for seconds, engine in workers.values()]
    found = {
        "engine": given.engine,
        "tile": tile,
        "pictures": given.pictures,
        "megapixels": round(pixels / 1e6, 3),
        "delay": given.delay,
        "nodes": given.nodes,
        "cores": given.cores,
        "run_seconds": whole,
        "worker_seconds": [seconds for seconds, _ in workers.values()],
        "engine_seconds": [engine for _, engine in workers.values()],
        "busy": busy,
        "load": machine.load(),
        "hardware": machine.examine().to_dict(),
        "versions": machine.versions(),
    }
    print(f"{given.pictures} photographs, {pixels / 1e6:.1f} MP, tile {tile}")
    print(f"run       {whole:8.2f} s, cluster's processes and engines to open included")
    for (seconds, engine), share in zip(workers.values(), busy, strict=True):
        print(f"worker    {seconds:8.2f} s, engine {engine:8.2f} s, busy {share:.3f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
