"""What dealing to several engines costs: tiles a second, in turns, in one run.

On a CPU: one engine of one thread, one engine of all cores, one engine with that many streams, and
that many engines of one thread each. With ``--devices``, whatever is named, such as
``cuda cuda:all``. Each round streams the same batches through each of them; what is given is the
median and the range over the rounds, and each against the first. The processor's time for a tile is
all threads' together: it shows the cost of dealing where other work shares the machine. Prints a
Markdown table, what dealing alone costs, and a line of JSON.

    python benchmarks/several.py [--engine FILE] [--tile SIDE] [--batches N] [--rounds N]
        [--devices NAME ...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hat_deploy.artifact import Artifact, zoo
from hat_deploy.engines import open_artifact
from hat_deploy.engines.base import Array, Engine, EngineBase, TensorSpec, sized
from hat_deploy.engines.several import SeveralEngines
from hat_deploy.machine import cpu_name, load, usable_cores


def on_a_cpu(artifact: Artifact, stack: ExitStack) -> list[Engine]:
    cores = usable_cores()
    several = ",".join(["cpu"] * cores)
    return [
        stack.enter_context(
            open_artifact(artifact, device=device, threads=threads, streams=streams)
        )
        for device, threads, streams in (
            ("cpu", 1, 1),
            ("cpu", cores, 1),
            ("cpu", cores, cores),
            (several, 1, 1),
        )
    ]


def labels_on_a_cpu() -> list[str]:
    cores = usable_cores()
    return [
        "one engine, 1 thread",
        f"one engine, {cores} threads",
        f"one engine, {cores} threads, {cores} streams",
        f"{cores} engines, 1 thread each",
    ]


def seconds(engine: Engine, batches: list[Array]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    started = time.perf_counter(), time.process_time()
    for _ in engine.stream(batches):
        pass
    return time.perf_counter() - started[0], time.process_time() - started[1]


class Idle(EngineBase):
    """Gives the same result at once: what is left is dealing."""

    name = "idle"
    _window = 16
    _input = TensorSpec("input", (1, 3, 256, 256), "float32", "NCHW")
    _output = TensorSpec("output", (1, 3, 1024, 1024), "float32", "NCHW")

    def __init__(self) -> None:
        self._result = np.zeros(self.output.shape, np.float32)

    def run(self, batch: Array) -> Array:
        return self._result


def dealing(rounds: int, batches: int = 100) -> float:
    """The processor's milliseconds for a batch that is dealt and comes back, in floats, x4."""
    with SeveralEngines([Idle] * usable_cores()) as engine:
        batch = np.zeros(engine.input.shape, np.float32)
        found = [seconds(engine, [batch] * batches)[1] for _ in range(rounds + 1)]
    return 1000 * statistics.median(found[1:]) / batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, help="an artifact; default: the shipped model's")
    parser.add_argument("--tile", type=int, default=128, help="side, where it takes any")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--devices", nargs="+", help="default: the CPU in four ways")
    given = parser.parse_args()
    artifact = Artifact(given.engine) if given.engine else zoo.find(zoo.DEFAULT).artifact
    with ExitStack() as stack:
        if given.devices:
            labels = given.devices
            engines = [
                stack.enter_context(open_artifact(artifact, device=device)) for device in labels
            ]
        else:
            labels, engines = labels_on_a_cpu(), on_a_cpu(artifact, stack)
        engines = [sized(engine, (given.tile, given.tile), tiles=10**4) for engine in engines]
        spec = engines[0].input
        noise = np.random.default_rng(0).random(spec.shape, np.float32)
        batch = noise if spec.dtype == "float32" else (noise * 255).astype(spec.dtype)
        batches = [batch] * given.batches
        loads = [load()]
        for engine in engines:
            seconds(engine, batches[:4])  # compiles
        taken: list[list[tuple[float, float]]] = [[] for _ in engines]
        for _ in range(given.rounds):
            for times, engine in zip(taken, engines, strict=True):
                times.append(seconds(engine, batches))
        loads.append(load())
        names = [engine.name for engine in engines]
    tiles = given.batches * spec.batch
    rates = [[tiles / clock for clock, _ in times] for times in taken]
    costs = [statistics.median(1000 * busy / tiles for _, busy in times) for times in taken]
    first = statistics.median(rates[0])
    print(f"{cpu_name()}, {usable_cores()} cores, load {loads[0]} before and {loads[1]} after")
    print(f"{tiles} tiles of {spec.size[0]}x{spec.size[1]}, {given.rounds} rounds in turns\n")
    print("| | tiles a second | range | times the first | processor ms a tile |")
    print("|---|---:|---:|---:|---:|")
    for label, found, cost in zip(labels, rates, costs, strict=True):
        middle = statistics.median(found)
        span = f"{min(found):.3g} to {max(found):.3g}"
        print(f"| {label} | {middle:.3g} | {span} | {middle / first:.2f} | {cost:.1f} |")
    alone = dealing(given.rounds)
    print(f"\ndealing alone, 256x256 to 1024x1024 in floats: {alone:.2f} ms of processor a batch")
    print(
        json.dumps(
            {"names": names, "rates": rates, "processor": costs, "dealing": alone, "load": loads}
        )
    )


if __name__ == "__main__":
    main()
