"""Figures of a GPU: ``make bench-gpu``, or from source ``PYTHONPATH=. python benchmarks/gpu.py``.

HAT-S and HAT (x4, seeded weights) at 64x64, 128x128 and 256x256, one tile at a time and in
batches that fill the GPU: PyTorch eager and compiled, an independent implementation where it is
installed, ONNX Runtime and TensorRT where they run, with floats and with bytes. Latency is that of
a call from host array to host array, so that all work is done when it returns, and of a loop over
the tiles of an image of eight batches, where an engine may have several in flight. Each is timed
in turns with PyTorch eager in fp16, opened for that and closed again, so that no contender's memory
is another's want; an untimed call comes before each timed one. Clocks, power and throttling
are recorded meanwhile. Each is also held against the reference on the images that ship. TF32 is
off everywhere in fp32; PyTorch's default leaves it on for convolutions.

Figures go to ``results/GPU.json`` and ``.md`` after each network and size, so that a run that is
cut keeps what it has, and several runs add up.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_contenders import contenders, those_that_run
from gpu_state import line, watched
from runs import (
    RESULTS,
    OnStage,
    named_versions,
    progress,
    save_seeded,
    scope_table,
    without_paths,
    write,
)

from hat_deploy import machine
from hat_deploy.bench.contenders import Contender
from hat_deploy.bench.lineup import Lineup
from hat_deploy.bench.measure import measure
from hat_deploy.bench.report import Report
from hat_deploy.bench.scopes import Scope
from hat_deploy.bench.timing import Settings
from hat_deploy.engines.cuda.driver import local_gpu_address, local_gpu_name
from hat_deploy.errors import ArtifactError, HatDeployError
from hat_deploy.images import samples
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.hat.config import VARIANTS
from hat_deploy.verify.comparison import Comparison

BATCHES = 8
"""Full batches of the image that the loop over tiles takes."""
FILL = 4 * 256 * 256
"""LR pixels of a batch that fills a GPU."""


@dataclass(frozen=True)
class Run:
    """One table."""

    network: str
    side: int
    batch: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.network} x4, {self.side}x{self.side}, batch {self.batch}"


def plan(networks: Sequence[str], sides: Sequence[int], fill: int) -> Iterator[Run]:
    """What is measured: for each size one tile, and as many as make ``fill`` pixels."""
    for network in networks:
        for side in sides:
            for batch in dict.fromkeys((1, max(1, fill // side**2))):
                yield Run(network, side, batch)


def file_name(gpu: str) -> str:
    """A GPU's name as a file's: ``NVIDIA H100 80GB HBM3`` is ``nvidia-h100-80gb-hbm3``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


def merged(path: Path, key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The results so far, with one entry added or replaced."""
    runs = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {**runs, key: entry}


def fidelity(running: Sequence[Contender], checkpoint: Path, on_stage: OnStage) -> dict[str, Any]:
    """Each contender against the fp32 reference, tiled alike, on the images that ship."""
    found: dict[str, Any] = {}
    for contender in running:
        on_stage(f"comparing {contender.label}")
        network = load_network(checkpoint)
        with contender.open(1) as engine:
            comparison = Comparison(
                engine, network, halo=contender.halo, device="cuda", whole=False
            )
            pictures = samples.shipped(contender.tile, contender.config.window_size, 3)
            compared = {each.name: comparison.run(each).precision for each in pictures}
        found[contender.label] = {name: each.to_dict() for name, each in compared.items()}
        torch.cuda.empty_cache()
    return found


def markdown(runs: dict[str, Any]) -> str:
    """A table for each entry: latency, ratio, share of the ceiling, fidelity."""
    blocks = []
    for key, entry in runs.items():
        blocks += [f"**{key}**", entry["table"], _quality(entry["fidelity"]), line(entry["gpu"])]
        blocks += [f"absent: {label}: {reason}" for label, reason in entry["absent"].items()]
        flags = [flag for report in entry["latency"] for flag in report["flags"]]
        blocks += [f"flag: {flag}" for flag in dict.fromkeys(flags)]
    last = next(reversed(runs.values()))["latency"][-1]
    gpus = ", ".join(f"{g['name']} (driver {g['driver']})" for g in last["hardware"]["gpus"])
    blocks.append(
        f"{gpus}; {named_versions(last['versions'])}. Times from host array to host array; "
        "ratio: over torch fp16 eager, pair by pair; ceiling: a matrix product in the "
        "same precision, measured in the same run. TF32 off in fp32."
    )
    return "\n\n".join(blocks) + "\n"


def _quality(found: dict[str, Any]) -> str:
    """The worst image's PSNR of each contender."""
    parts = []
    for label, pictures in found.items():
        values = [each["psnr"] for each in pictures.values()]
        worst = min((v for v in values if v is not None), default=None)
        parts.append(f"{label} {'exact' if worst is None else f'{worst:.1f}'}")
    return f"PSNR in dB against PyTorch fp32, worst image: {', '.join(parts)}"


def measured(run: Run, folder: Path, settings: Settings, on_stage: OnStage) -> dict[str, Any]:
    """One entry of the results."""
    tile = (run.side, run.side)
    checkpoint = folder / f"{run.network}.pth"
    network = load_network(checkpoint)
    candidates, absent = contenders(network, folder, run.network, tile, run.batch, on_stage)
    running = those_that_run(candidates, absent, on_stage)
    if not running:
        raise ArtifactError(f"nothing runs: {absent}")
    with watched(local_gpu_address()) as state:
        reports = [
            measure(
                lineup,
                settings,
                scopes=(Scope.CALL, Scope.TILES),
                batches=BATCHES,
                memory=False,
                on_stage=on_stage,
            )
            for lineup in pairs(running)
        ]
    return {
        "latency": [without_paths(report) for report in reports],
        "fidelity": fidelity(running, checkpoint, on_stage),
        "absent": absent,
        "gpu": state,
        "table": "\n\n".join(tables(reports)),
    }


def pairs(running: Sequence[Contender]) -> list[Lineup]:
    """Each contender beside the first, which is alone where there is no other."""
    first, *others = running
    both = [(first, other) for other in others] or [(first,)]
    return [Lineup(contenders=pair, baseline=first.label, subject=None) for pair in both]


def tables(reports: Sequence[Report]) -> Iterator[str]:
    """A table for each scope: the first contender as it was timed beside the second, then all."""
    for number, scope in enumerate(reports[0].scopes):
        head, *rest = (scope_table(report, report.scopes[number]) for report in reports)
        rows = [table.splitlines()[-1] for table in rest]
        yield "\n".join([f"{scope.scope.value}:\n\n{head}", *rows])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=["HAT-S", "HAT"])
    parser.add_argument("--sides", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--fill", type=int, default=FILL, help="LR pixels of a full batch")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--artifacts", type=Path, help="keep what is exported, for the next run")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    gpu = local_gpu_name()
    if gpu is None or not torch.cuda.is_available():
        raise SystemExit("there is no GPU that the driver and PyTorch see: nothing is measured")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    settings = Settings(iterations=options.iterations, seconds=options.seconds, untimed=1)
    results = options.results / f"{file_name(gpu)}.json"
    print(f"{gpu}; {machine.versions()}", flush=True)
    with ExitStack() as stack:
        folder = options.artifacts or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for run in plan(options.only, options.sides, options.fill):
            checkpoint = folder / f"{run.network}.pth"
            if not checkpoint.is_file():
                save_seeded(VARIANTS[run.network], checkpoint)
            try:
                entry = measured(run, folder, settings, progress(run.key))
            except (HatDeployError, torch.OutOfMemoryError) as reason:
                print(f"{run.key}: not measured: {reason}", flush=True)
                torch.cuda.empty_cache()
                continue
            runs = merged(results, run.key, entry)
            write(results, json.dumps(runs, indent=1) + "\n")
            write(results.with_suffix(".md"), markdown(runs))
            print(entry["table"], flush=True)


if __name__ == "__main__":
    main()
