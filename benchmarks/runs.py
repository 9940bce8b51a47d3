"""What the figures of the CPU and of a GPU share: seeded networks, and results as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from hat_deploy.bench.report import Report, ScopeReport
from hat_deploy.bench.table import QUANTITIES, cells
from hat_deploy.files import replacing
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.network import HAT

RESULTS = Path(__file__).parent / "results"
OnStage = Callable[[str], None]


def save_seeded(config: HATConfig, path: Path) -> None:
    """A checkpoint of seeded random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_checkpoint(HAT(config), path)


def progress(name: str) -> OnStage:
    return lambda stage: print(f"{name}: {stage}", flush=True)


def scope_table(report: Report, scope: ScopeReport) -> str:
    """One scope as a Markdown table."""
    lines = [
        "| | " + " | ".join(QUANTITIES) + " | peak memory MB |",
        "|---|" + "---:|" * (len(QUANTITIES) + 1),
    ]
    for result, participant in zip(scope.results, report.participants, strict=True):
        memory = participant.memory
        peak = (
            "-" if memory is None or memory.host_peak is None else f"{memory.host_peak / 1e6:,.0f}"
        )
        lines.append("| " + " | ".join([result.label, *cells(result), peak]) + " |")
    return "\n".join(lines)


def without_paths(report: Report) -> dict[str, Any]:
    """Every figure as JSON types; files by name alone, for their folders are gone by then."""
    content = report.to_dict()
    for contender in content["contenders"]:
        contender["file"] = Path(contender["file"]).name
    return content


def named_versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
