"""How busy a run from a bucket to a bucket keeps its engine: its time over the run's.

The photographs of benchmarks/pipeline.py lie in a bucket of an S3 server on this machine, a process
of its own that takes its share of the cores. The run reads, computes, writes and keeps its journal
there; the time that the engine spends on batches is taken inside it. The goal is 0.97 where the
engine is the bottleneck. ``--delay`` adds a network's latency to every request.

    python benchmarks/stores.py [--engine hat.onnx] [--pictures 60] [--rounds 3] [--delay 0.02]

A table for people, then one line of JSON. Needs moto, of the extra dev.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pipeline import make_folder

from hat_deploy import Upscaler, folders, machine
from hat_deploy.artifact import Artifact, zoo
from hat_deploy.engines.base import Arrays
from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine
from hat_deploy.folders.job_stream import stream_jobs
from hat_deploy.folders.places.remote import Remote
from hat_deploy.folders.places.stores import store_of
from hat_deploy.geometry import tile_size

SERVER = """
import logging, sys, time
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
app = DomainDispatcherApplication(create_backend_app)
def slow(environ, start_response):
    time.sleep(float(sys.argv[1]))
    return app(environ, start_response)
server = make_server("127.0.0.1", 0, slow, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def serving(delay: float) -> Iterator[None]:
    """A server, and an environment that leads to it."""
    command = [sys.executable, "-c", SERVER, str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            os.environ |= {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "somebody",
                "AWS_SECRET_ACCESS_KEY": "something",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            yield
        finally:
            server.kill()


class Timed(OnnxRuntimeEngine):
    """Counts the seconds that are spent in the library, those for other sizes of tiles too."""

    seconds = 0.0

    def _compute(self, batch: Arrays) -> Arrays:
        started = time.perf_counter()
        try:
            return super()._compute(batch)
        finally:
            Timed.seconds += time.perf_counter() - started


def busy(upscaler: Upscaler, bucket: Remote) -> tuple[float, float]:
    """Seconds of a run, and those of its engine."""
    listed = stream_jobs([bucket / "in"], mark="", output=bucket / "out", recursive=False)
    Timed.seconds = 0.0
    started = time.perf_counter()
    options = folders.Options(overwrite=True)
    with closing(folders.run_list(listed, upscaler, options)) as outcomes:
        for outcome in outcomes:
            assert isinstance(outcome, folders.Done), outcome
    return time.perf_counter() - started, Timed.seconds


def artifact_of(name: str) -> Artifact:
    """A file, or the artifact of a model that ships."""
    return Artifact.of(Path(name)) if name.endswith(".onnx") else zoo.find(name).artifact


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default=zoo.DEFAULT, help="an .onnx, or a model that ships")
    parser.add_argument("--threads", type=int, help="of the engine")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as place,
        serving(given.delay),
        Upscaler(Timed(artifact_of(given.engine), threads=given.threads)) as upscaler,
    ):
        folder = Path(place, "in")
        pixels = make_folder(folder, given.pictures)
        bucket = Remote("s3://photographs")
        store_of(bucket).files.mkdir(bucket.bucket)
        for path in folder.iterdir():
            store_of(bucket).upload(path, bucket / f"in/{path.name}")
        rounds = [busy(upscaler, bucket) for _ in range(given.rounds)]
        report(upscaler, given, pixels, rounds)


def report(
    upscaler: Upscaler, given: argparse.Namespace, pixels: int, rounds: list[tuple[float, float]]
) -> None:
    shares = [engine / whole for whole, engine in rounds]
    found = {
        "engine": upscaler.engine.name,
        "tile": list(upscaler.engine.input.size),
        "pictures": given.pictures,
        "megapixels": round(pixels / 1e6, 3),
        "delay": given.delay,
        "run_seconds": [whole for whole, _ in rounds],
        "engine_seconds": [engine for _, engine in rounds],
        "busy": statistics.median(shares),
        "load": machine.load(),
        "hardware": machine.examine().to_dict(),
        "versions": machine.versions(),
    }
    print(
        f"{given.pictures} photographs, {pixels / 1e6:.1f} MP, {given.delay} s before each answer"
    )
    print(f"engine    {upscaler.engine.name}, tile {tile_size(upscaler.engine.input.size)}")
    print(f"run       {statistics.median(found['run_seconds']):8.2f} s")
    print(f"busy      {found['busy']:8.3f}  (each round: {', '.join(f'{s:.3f}' for s in shares)})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
