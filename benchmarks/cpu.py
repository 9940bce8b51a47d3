"""The CPU figures of the README: ``make bench``.

Each network at a 64x64 tile, in turns: an independent implementation of HAT in PyTorch
(spandrel's), this project's network in PyTorch, and its ONNX artifact in ONNX Runtime and in
OpenVINO, there in fp32 and, where the CPU has it, in bf16. The shipped model has its own weights,
HAT-S and HAT (x4) have seeded random ones, which take as long. Figures go to
``results/cpu.json``, the tables for the README to ``results/cpu.md``, network by network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from independent import IndependentContender
from runs import (
    RESULTS,
    named_versions,
    progress,
    save_seeded,
    scope_table,
    without_paths,
    write,
)

from hat_deploy.artifact import zoo
from hat_deploy.artifact.resolve import Checkpoint
from hat_deploy.bench.contenders import Contender, of_artifact, of_network
from hat_deploy.bench.lineup import Lineup
from hat_deploy.bench.measure import measure
from hat_deploy.bench.report import Report
from hat_deploy.bench.timing import Settings
from hat_deploy.engines.openvino import supports
from hat_deploy.export.to_onnx import ExportOptions, export_onnx
from hat_deploy.files import sha256
from hat_deploy.geometry import tile_size
from hat_deploy.networks.checkpoint import load_network, save_checkpoint
from hat_deploy.networks.hat.config import VARIANTS, HATConfig
from hat_deploy.precision import OPENVINO

TILE = (64, 64)
NETWORKS: dict[str, HATConfig | None] = {
    zoo.DEFAULT: None,
    "HAT-S": VARIANTS["HAT-S"],
    "HAT": VARIANTS["HAT"],
}
"""By name; None where the weights ship."""


def contenders(name: str, config: HATConfig | None, folder: Path) -> Lineup:
    """Export a network and set the three ways to run it side by side."""
    if config is None:
        checkpoint = zoo.find(name).checkpoint
    else:
        checkpoint = folder / "seeded.pth"
        save_seeded(config, checkpoint)
    network = load_network(checkpoint)
    authors = folder / "authors.pth"
    save_checkpoint(network, authors)  # with the buffers that spandrel reads its shape from
    onnx = folder / f"{name}.onnx"
    export_onnx(
        network,
        onnx,
        ExportOptions(tile=TILE),
        model=name,
        checkpoint_sha256=sha256(checkpoint),
    )
    exported = of_artifact(onnx, label="onnxruntime", backend="onnxruntime")
    vino = [
        of_artifact(onnx, label=f"openvino {compute}", backend="openvino", compute=compute)
        for compute in openvino_precisions()
    ]
    reference = of_network(exported, label="torch", checkpoint=Checkpoint(checkpoint, name))
    shared = {field.name: getattr(reference, field.name) for field in fields(Contender)}
    others = {"label": "spandrel", "file": Checkpoint(authors, "authors")}
    independent = IndependentContender(**shared | others)
    return Lineup(
        contenders=(reference, exported, *vino, independent),
        baseline="spandrel",
        subject=vino[0].label,
    )


def openvino_precisions() -> list[str]:
    """What OpenVINO computes in on this machine without loss of speed."""
    return [precision for precision in OPENVINO if supports(precision)]


def title(name: str, report: Report, scope: str, count: int) -> str:
    config = report.participants[0].contender.config
    return f"{name} x{config.scale}, tile {tile_size(TILE)}, {scope}, {count} iterations"


def markdown(reports: dict[str, Report]) -> str:
    """A table for each network and scope, with what it was measured on."""
    blocks = []
    for name, report in reports.items():
        for scope in report.scopes:
            count = len(scope.results[0].seconds.values)
            blocks.append(f"**{title(name, report, scope.scope.value, count)}**")
            blocks.append(scope_table(report, scope))
        blocks += [f"flag: {flag}" for flag in report.flags]
    last = next(reversed(reports.values()))
    blocks.append(
        f"{last.hardware.cpu}, {last.threads} threads; {named_versions(last.versions)}. "
        "Times in milliseconds; ratio: time over that of spandrel, pair by pair; peak memory: "
        "of a process that does one engine call; ceiling: a matrix product in the same precision, "
        "measured in the same run."
    )
    return "\n\n".join(blocks) + "\n"


def to_json(reports: dict[str, Report]) -> str:
    content = {name: without_paths(report) for name, report in reports.items()}
    return json.dumps(content, indent=1) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    settings = Settings(iterations=options.iterations, seconds=options.seconds)
    reports = {}
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            progress(name)("exporting")
            lineup = contenders(name, NETWORKS[name], Path(folder))
            reports[name] = measure(
                lineup,
                settings,
                threads=options.threads,
                on_stage=progress(name),
            )
        write(options.results / "cpu.json", to_json(reports))
        write(options.results / "cpu.md", markdown(reports))
    print(markdown(reports))


if __name__ == "__main__":
    main()
