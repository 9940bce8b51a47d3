"""Draw the files of results: ``python benchmarks/plots.py``.

For ``results/cpu.json`` that is ``cpu-latency-NETWORK.svg`` and ``cpu-ceiling.svg`` beside it.
``results/tile-cost.svg`` comes from the cost model of HAT x4 and needs no results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hat_deploy.bench import charts
from hat_deploy.files import replacing
from hat_deploy.networks.hat.config import VARIANTS

RESULTS = Path(__file__).parent / "results"


def is_run(content: Any) -> bool:
    """Whether it is what ``bench --json`` prints."""
    return isinstance(content, dict) and "scopes" in content and "contenders" in content


def drawings(name: str, reports: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """File names and SVG for the runs of one file."""
    for network, report in reports.items():
        scope = report["scopes"][0]["scope"]
        first = report["contenders"][0]
        tile = "x".join(map(str, first["tile"]))
        title = f"{network} x{first['config']['scale']}, tile {tile}, {scope}"
        yield f"{name}-latency-{network}.svg", charts.latency(report, scope, title)
    yield f"{name}-ceiling.svg", charts.ceiling(reports)


def draw(folder: Path) -> list[Path]:
    """Draw every file of results in a folder."""
    done = []
    pictures = [("tile-cost.svg", charts.tile_cost(VARIANTS["HAT"], "HAT x4"))]
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = {"run": content} if is_run(content) else content
        if not isinstance(runs, dict) or not runs or not all(map(is_run, runs.values())):
            print(f"{path.name}: no runs of bench, not drawn")
            continue
        pictures += drawings(path.stem, runs)
    for name, svg in pictures:
        with replacing(folder / name) as partial:
            partial.write_text(svg + "\n", encoding="utf-8")
        done.append(folder / name)
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    for path in draw(options.results):
        print(path)


if __name__ == "__main__":
    main()
