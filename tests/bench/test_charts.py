from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_bench_report import report

from benchmarks import charts
from hat_deploy.bench import plot
from hat_deploy.networks.hat.config import VARIANTS
from hat_deploy.networks.hat.cost import cost
from hat_deploy.reports.svg import Linear, Log

SVG = "{http://www.w3.org/2000/svg}"
SLOW, FAST = (0.2,) * 9 + (0.3,), (0.1,) * 10
HAT = VARIANTS["HAT"]
PLOTS = Path(__file__).parents[2] / "benchmarks" / "plots.py"


def found() -> dict[str, object]:
    """As it comes back from a file."""
    made = report(reference_seconds=SLOW, engine_seconds=FAST).to_dict()
    return dict(json.loads(json.dumps(made)))


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("aria-label")
    assert "prefers-color-scheme:dark" in svg
    return root


def test_each_call_is_a_dot_where_its_time_is() -> None:
    root = parsed(plot.panel(found()["scopes"][0], "a < b").svg())
    dots = [float(dot.get("cx", "nan")) for dot in root.iter(f"{SVG}circle")]
    assert len(dots) == 20
    slow, fast = dots[:10], dots[10:]
    assert len(set(fast)) == len(set(slow[:9])) == 1
    origin = 2 * fast[0] - slow[0]  # 100 and 200 ms are equally far from each other and from 0
    assert slow[9] - origin == pytest.approx(3 * (fast[0] - origin), abs=0.3)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "200 ms" in texts
    assert "a < b: milliseconds, 10 calls each" in texts


def test_a_scope_that_was_not_measured_is_said() -> None:
    with pytest.raises(ValueError, match="'tile loop' was not measured"):
        charts.ceiling({"one": found()}, "tile loop")


def test_bars_are_as_long_as_the_share_of_the_ceiling() -> None:
    figure = charts.ceiling({"one": found(), "two": found()})
    widths = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    assert widths == pytest.approx([0.25, 0.5] * 2)


def test_contenders_without_a_ceiling_have_no_bar() -> None:
    content = found()
    content["scopes"][0]["results"][0]["ceiling_share"] = None
    (axes,) = charts.ceiling({"one": content}).axes
    assert len(axes.patches) == 1


def test_the_cost_of_a_tile_is_its_work_over_what_is_kept() -> None:
    points = dict(charts.work(HAT, 16, 1e9))
    per_pixel = cost(HAT, 64, 64).multi_adds / 64**2 / 1e6
    assert points[64] == pytest.approx(4 * per_pixel)
    assert points[256] == pytest.approx(cost(HAT, 256, 256).multi_adds / 224**2 / 1e6)
    assert list(points.values()) == sorted(points.values(), reverse=True)
    assert min(points) == 48
    (axes,) = charts.tile_cost(HAT, "HAT x4").axes
    assert len(axes.lines) == len(charts.HALOS) + 1  # and one without a halo


def test_axes() -> None:
    linear = Linear(low=10, high=20, start=0, stop=100)
    assert [linear.at(value) for value in (10, 15, 20)] == [0, 50, 100]
    log = Log.around([3e-7, 2e-4, 0.0, float("inf")], 100, 0)
    assert (log.low, log.high) == pytest.approx((1e-7, 1e-3))
    assert log.at(1e-5) == pytest.approx(50)
    assert log.at(0.0) == 100
    assert log.at(float("inf")) == 0
    assert log.ticks() == pytest.approx([1e-7, 1e-6, 1e-5, 1e-4, 1e-3])


def test_files_of_results_are_drawn_and_others_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLOTS.parent)
    (tmp_path / "cpu.json").write_text(json.dumps({"net": found()}))
    (tmp_path / "one.json").write_text(json.dumps(found()))
    (tmp_path / "other.json").write_text("[1, 2]")
    runpy.run_path(str(PLOTS))["main"](["--results", str(tmp_path)])
    assert "other.json: no runs of bench" in capsys.readouterr().out
    drawn = {path.name for path in tmp_path.glob("*.svg")}
    assert drawn == {
        "tile-cost.svg",
        "cpu-latency-net.svg",
        "cpu-ceiling.svg",
        "one-latency-run.svg",
        "one-ceiling.svg",
    }
    for path in tmp_path.glob("*.svg"):
        text = path.read_text()
        assert ElementTree.fromstring(text).tag == f"{SVG}svg"
        assert not re.search(r"\b(nan|inf)\b", text)
