from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from tiny import tiny_config

from benchmarks.runs import scope_table
from hat_deploy.bench import plot, table
from hat_deploy.bench.ceiling import Ceiling
from hat_deploy.bench.contenders import Contender, TorchContender
from hat_deploy.bench.lineup import Lineup
from hat_deploy.bench.memory import PeakMemory
from hat_deploy.bench.report import Participant, Report, Result, ScopeReport, require_ratio
from hat_deploy.bench.scopes import Scope, Work
from hat_deploy.bench.timing import Distribution, Settings, ratios
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.machine import Hardware, InstalledGPU
from hat_deploy.reports.svg import tick_values

REFERENCE = TorchContender(
    label="reference",
    config=tiny_config(),
    tile=(16, 16),
    batch=1,
    halo=4,
    precision="fp32",
    device="cpu",
    file=None,
)
ENGINE = replace(REFERENCE, label="engine")
CEILING = Ceiling(precision="fp32", device="cpu", flops=4e9, side=1024, library="numpy 2")
STEADY = (0.2,) * 10


def report(
    engine: Contender = ENGINE,
    reference_seconds: tuple[float, ...] = STEADY,
    engine_seconds: tuple[float, ...] = (0.1,) * 10,
    *,
    complete: bool = True,
    load: float = 0.1,
    baseline: str | None = "reference",
) -> Report:
    slow, fast = Distribution(reference_seconds), Distribution(engine_seconds)
    work = Work(tiles=2, pixels=500, multi_adds=10**8)
    common = {"work": work, "scale": 2, "ceiling": CEILING}
    results = (
        Result(label="reference", seconds=slow, ratio=None, **common),
        Result(label="engine", seconds=fast, ratio=ratios(fast, slow), **common),
    )
    peak = PeakMemory(host_before=10**6, host_peak=5 * 10**6, device=None)
    return Report(
        lineup=Lineup(contenders=(REFERENCE, engine), baseline=baseline, subject="engine"),
        participants=tuple(
            Participant(contender=c, engine=f"fake {c.label}", sha256=None, memory=peak)
            for c in (REFERENCE, engine)
        ),
        scopes=(ScopeReport(scope=Scope.CALL, complete=complete, results=results),),
        ceilings=(CEILING,),
        settings=Settings(),
        threads=2,
        picture="a picture",
        hardware=Hardware(
            cpu="a processor",
            cores=2,
            memory_bytes=None,
            gpus=(InstalledGPU(name="a GPU", driver="1", memory_mib=8),),
            system="Linux",
        ),
        versions={"numpy": "2"},
        load=load,
    )


def test_rates_follow_from_the_median() -> None:
    result = report().scopes[0].of("engine")
    assert result.tiles_per_second == pytest.approx(20)
    assert result.input_megapixels_per_second == pytest.approx(0.005)
    assert result.output_megapixels_per_second == pytest.approx(0.02)
    assert result.flops == pytest.approx(2e9)
    assert result.ceiling_share == pytest.approx(0.5)


def test_a_quiet_steady_run_of_equals_has_no_flags() -> None:
    assert report().flags == ()


NOISY = (0.1, 0.1, 0.1, 0.1, 0.1, 0.11, 0.11, 0.11, 0.11, 0.11)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (report(load=1.5), "load average 1.5 on 2 cores"),
        (report(complete=False), "stopped after 10 iterations"),
        (report(reference_seconds=STEADY[:9], engine_seconds=(0.1,) * 9), "only 9 iterations"),
        (report(engine_seconds=NOISY), "engine times 10%, engine ratios 10%"),
        (report(replace(ENGINE, precision="bf16")), "precisions compared (bf16 and fp32)"),
        (report(replace(ENGINE, device="cuda")), "devices compared (cuda, cpu)"),
        (report(replace(ENGINE, tile=(16, 32))), "(1, 16, 32, 4) and (1, 16, 16, 4)"),
        (report(replace(ENGINE, config=tiny_config(embed_dim=24))), "different networks"),
        (report(engine_seconds=(0.04,) * 10), "faster than the measured ceiling (125%)"),
    ],
)
def test_what_makes_a_figure_untrustworthy_is_flagged(found: Report, says: str) -> None:
    assert any(says in flag for flag in found.flags), found.flags


def test_a_spread_of_five_per_cent_is_not_flagged() -> None:
    assert report(engine_seconds=tuple(0.1 + 0.0009 * i for i in range(10))).flags == ()


def test_the_limit_is_held_against_the_median_ratio() -> None:
    require_ratio(report(), 0.5)
    with pytest.raises(CheckFailed, match=r"0.500 times as long as the reference \(engine call\)"):
        require_ratio(report(), 0.49)
    with pytest.raises(UsageError, match="--max-ratio"):
        require_ratio(report(baseline=None), 1)


def test_the_json_is_plain_and_whole() -> None:
    content = json.loads(json.dumps(report().to_dict(), allow_nan=False))
    assert content["hardware"]["gpus"][0]["name"] == "a GPU"
    assert content["settings"] == {
        "untimed": 0,
        "iterations": 10,
        "seconds": 3.0,
        "warmup": 2,
        "limit": 600.0,
        "pause": 0.02,
        "threads": 2,
    }
    engine = content["scopes"][0]["results"][1]
    assert engine["seconds"]["values"] == [0.1] * 10
    assert engine["ratio"]["median"] == 0.5
    assert content["contenders"][1]["memory"]["host_peak"] == 5 * 10**6


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_is_whole_even_on_a_narrow_terminal(width: int) -> None:
    console = Console(file=StringIO(), width=width)
    table.show(report(), console)
    text = console.file.getvalue()
    assert "…" not in text
    for expected in ("200", "0.500", "50.0%", "a processor", "a GPU", "4 GFLOP/s", "no flags"):
        assert expected in text
    assert "5 MB, 1 MB of it before loading" in text


def test_the_markdown_has_a_row_a_contender() -> None:
    found = report()
    lines = scope_table(found, found.scopes[0]).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith("| engine | 100 |")
    assert lines[3].endswith("| 0.500 (0.500-0.500) | 50.0% | 5 |")


def test_the_plot_shows_each_contender_where_its_times_are(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "plot.svg"
    plot.save(report(), path)
    root = ElementTree.parse(path).getroot()
    assert root.get("viewBox").split()[2] == str(plot._WIDTH)
    dots = [float(dot.get("cx")) for dot in root.iter("{http://www.w3.org/2000/svg}circle")]
    slow, fast = dots[:10], dots[10:]
    room = plot._WIDTH - plot._LEFT - plot._RIGHT
    for places, milliseconds in ((slow, 200), (fast, 100)):
        expected = plot._LEFT + room * milliseconds / 210
        assert places == pytest.approx([expected] * 10, abs=0.1)


def test_a_plot_is_an_svg(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.png: .* ends in \.svg"):
        plot.save(report(), tmp_path / "x.png")


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (10, [0, 2, 4, 6, 8, 10]),
        (1.1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.23, [0, 0.05, 0.1, 0.15, 0.2]),
    ],
)
def test_ticks_are_round(largest: float, expected: list[float]) -> None:
    assert tick_values(largest) == expected
