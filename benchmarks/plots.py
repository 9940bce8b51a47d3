"""Draw the files of results: ``python benchmarks/plots.py``.

For ``results/cpu.json`` that is ``cpu-latency-NETWORK.svg`` and ``cpu-ceiling.svg`` beside it.
``results/tile-cost.svg`` comes from the cost model of HAT x4 and needs no results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import charts
from matplotlib.figure import Figure

from hat_deploy.bench import plot
from hat_deploy.files import replacing
from hat_deploy.geometry import tile_size
from hat_deploy.networks.hat.config import VARIANTS

RESULTS = Path(__file__).parent / "results"


def is_run(content: Any) -> bool:
    """Whether it is what ``bench --json`` prints."""
    return isinstance(content, dict) and "scopes" in content and "contenders" in content


def drawings(name: str, reports: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """File names and SVG for the runs of one file."""
    for network, report in reports.items():
        measured, first = report["scopes"][0], report["contenders"][0]
        tile = tile_size(first["tile"])
        title = f"{network} x{first['config']['scale']}, tile {tile}, {measured['scope']}"
        yield f"{name}-latency-{network}.svg", plot.panel(measured, title).svg() + "\n"
    yield f"{name}-ceiling.svg", svg(charts.ceiling(reports))


def svg(figure: Figure) -> str:
    """Without the date, so that the same figures give the same file."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def draw(folder: Path) -> list[Path]:
    """Draw every file of results in a folder."""
    done = []
    drawn = [("tile-cost.svg", svg(charts.tile_cost(VARIANTS["HAT"], "HAT x4")))]
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = {"run": content} if is_run(content) else content
        if not isinstance(runs, dict) or not runs or not all(map(is_run, runs.values())):
            print(f"{path.name}: no runs of bench, not drawn")
            continue
        drawn += drawings(path.stem, runs)
    for name, text in drawn:
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
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
