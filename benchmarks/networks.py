"""Every architecture that spandrel knows, exported, proved and built, for docs/networks.md.

    python benchmarks/networks.py [NAME...]

A tiny network with random weights of each is saved, read back, exported in fp16, proved in ONNX
Runtime against PyTorch and, where TensorRT for RTX is installed, built into a plan for sm89,
which takes no GPU. One that has no export in fp16, or none in time, is exported in fp32. Each runs
in a process of its own. With names, only those run, and the rows of the others stay.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hat_deploy.errors import ArtifactError, CheckFailed, HatDeployError
from hat_deploy.machine import usable_cores

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "networks.json"
PAGE = ROOT / "docs" / "networks.md"
START, END = "<!-- networks: start -->", "<!-- networks: end -->"
SECONDS = 300
"""Time limit of each, in fp16 and again in fp32."""
PRECISIONS = ("fp16", "fp32")
"""What is tried, in this order, until one is exported."""
AT_ONCE = 2
"""Processes at a time."""
TILE = 64
LONGEST = 250
"""Characters of a remark in the page."""
EQUAL = 200.0
"""Stands for the infinite PSNR of equal values."""


@dataclass(kw_only=True)
class Result:
    """How far one architecture came, and why no further."""

    name: str
    scale: int = 0
    window: int = 0
    native: bool = False
    any_size: bool = False
    psnr: float | None = None
    """Of the exported graph against PyTorch, in dB; None: it was not exported."""
    precision: str = ""
    """Of the export."""
    share: float | None = None
    """Of the multi-adds in half; None: the architecture says, not a search."""
    wide: int = 0
    """Layers that the search kept in fp32."""
    layers: int = 0
    """Of so many."""
    foreign: int = 0
    """Constants of the graph that are none of the network's."""
    built: bool = False
    reason: str = ""
    """Why it was not exported, or not in fp16, or not built."""


def measure(name: str, folder: Path, precisions: Sequence[str] = PRECISIONS) -> Result:
    """One architecture in this process, its files in ``folder``."""
    import torch

    from benchmarks.instances import instance
    from hat_deploy.networks.by_spandrel.shape import SpandrelShape
    from hat_deploy.networks.checkpoint import load_network

    result = Result(name=name)
    checkpoint = folder / f"{name}.pth"
    weights = {key: value.clone() for key, value in instance(name).items()}
    torch.save(weights, checkpoint)
    try:
        network = load_network(checkpoint)
        shape: Any = network.config
        result.native = not isinstance(shape, SpandrelShape)
        result.scale, result.window, result.any_size = shape.scale, shape.window, shape.any_size
        source = _first_export(network, folder, result, precisions)
        _build(source, folder, result)
    except HatDeployError as error:
        result.reason = _told(error, folder)
    return result


def _told(error: HatDeployError, folder: Path) -> str:
    """What it says, without the names of files that are gone by then."""
    return re.sub(rf"{folder}\S*:? ?", "", str(error))


def _first_export(network: Any, folder: Path, result: Result, precisions: Sequence[str]) -> Path:
    *others, last = precisions
    for precision in others:
        try:
            return _export(network, folder, result, precision)
        except (CheckFailed, ArtifactError) as error:
            result.reason = f"{precision}: {_told(error, folder)}"
    return _export(network, folder, result, last)


def _export(network: Any, folder: Path, result: Result, precision: str) -> Path:
    from hat_deploy.export.to_onnx import ExportOptions, export_onnx
    from hat_deploy.geometry import round_up
    from hat_deploy.verify.weights import foreign

    side = round_up(TILE, network.config.window)
    target = folder / "network.onnx"
    options = ExportOptions(
        tile=(side, side), any_size=network.config.any_size, precision=precision
    )
    report = export_onnx(network, target, options, model=result.name, checkpoint_sha256="0" * 64)
    result.psnr, result.precision = min(report.proof.psnr, EQUAL), precision
    found = report.description.assignment
    if found is not None:
        result.share, result.wide, result.layers = found.share, len(found.wide), found.layers
    result.foreign = len(foreign(target, network.in_precision(precision)))
    return target


def _build(source: Path, folder: Path, result: Result) -> None:
    from hat_deploy.export.to_plan import BuildOptions, build

    options = BuildOptions(gpus=("sm89",), flavour="rtx")
    build(source, folder / "network.plan", options)
    result.built = True


def measure_apart(
    name: str, seconds: float = SECONDS, precisions: Sequence[str] = PRECISIONS
) -> Result:
    """The same in a process of its own, which is ended after so many seconds.

    What came to no result is tried once more without the first precision.
    """
    with tempfile.TemporaryDirectory() as folder:
        order = [sys.executable, "-m", "benchmarks.networks", "--one", name, folder, *precisions]
        try:
            done = subprocess.run(
                order,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                env=os.environ | {"OMP_NUM_THREADS": str(max(1, usable_cores() // AT_ONCE))},
            )
            return Result(**json.loads(done.stdout.splitlines()[-1]))
        except subprocess.TimeoutExpired:
            reason = f"not done after {seconds:.0f} s"
        except (ValueError, IndexError):
            lines = done.stderr.strip().splitlines()
            reason = f"the process ended: {lines[-1] if lines else ''}"[:300]
    if len(precisions) == 1:
        return Result(name=name, reason=reason)
    result = measure_apart(name, seconds, precisions[1:])
    result.reason = f"{precisions[0]}: {reason}; {result.reason}".removesuffix("; ")
    return result


def table(results: list[Result]) -> str:
    """The page's table, in Markdown."""
    exported = sum(result.psnr is not None for result in results)
    built = sum(result.built for result in results)
    half = [result for result in results if result.precision == "fp16"]
    lines = [
        f"Of {len(results)} architectures, {exported} export and {built} build a plan; "
        f"{len(half)} of these exports and {sum(result.built for result in half)} of these plans "
        "are in fp16.",
        "",
        "| architecture | scale | multiple of | sizes | export | PSNR | multi-adds in half "
        "| layers in fp32 | plan | remark |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, results),
    ]
    return "\n".join(lines)


def _row(result: Result) -> str:
    proof = "" if result.psnr is None else f"{result.psnr:.0f} dB"
    share = "" if result.share is None else f"{result.share:.0%}"
    wide = "" if result.share is None else f"{result.wide} of {result.layers}"
    sizes = "any" if result.any_size else "one"
    said = result.reason.replace("|", "/")
    remark = (said if len(said) <= LONGEST else f"{said[:LONGEST]} ...") or (
        "native here" if result.native else ""
    )
    known = [f"x{result.scale}", str(result.window), sizes] if result.window else ["", "", ""]
    exported = result.precision or "no"
    plan = "yes" if result.built else "no"
    cells = [result.name, *known, exported, proof, share, wide, plan, remark]
    return f"| {' | '.join(cells)} |"


def write(result: Result) -> None:
    """Put one into the figures, and all of them into the page."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    found = {each["name"]: Result(**each) for each in known} | {result.name: result}
    results = [found[name] for name in sorted(found, key=str.lower)]
    RESULTS.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n\n{table(results)}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        name, folder, *precisions = sys.argv[2:]
        print(json.dumps(asdict(measure(name, Path(folder), precisions))))
        return
    from benchmarks.instances import PARAMETERS

    names = sys.argv[1:] or list(PARAMETERS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in as_completed([pool.submit(measure_apart, name) for name in names]):
            result = done.result()
            print(_row(result), flush=True)
            write(result)


if __name__ == "__main__":
    main()
