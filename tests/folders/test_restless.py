"""Runs that are killed, that run side by side, and that the disk is too small for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from folder_runs import leftovers, picture, results

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(12):
        size = (8 + 5 * n % 27, 8 + 11 * n % 31)
        suffix = ("png", "jpg", "bmp", "tif")[n % 4]
        picture(tmp_path / "in" / f"sub{n % 2}" / f"{n}.{suffix}", size, n)
    picture(tmp_path / "in" / "alpha.png", (30, 20), channels=4)
    picture(tmp_path / "in" / "deep.png", (30, 20), dtype=np.uint16)
    return tmp_path / "in"


def restless(*arguments: object, timeout: float = 600) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("restless.py"), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_killed_at_fifty_moments_a_run_ends_with_the_right_results(
    folder: Path, tmp_path: Path, tiny_onnx: Path
) -> None:
    said = restless("kill", tiny_onnx, folder, tmp_path / "out", 2026)
    assert int(said.split()[0]) >= 50
    right = results(tmp_path / "out" / "undisturbed")
    assert len(right) == 14
    places = [p for p in (tmp_path / "out").iterdir() if p.name != "undisturbed"]
    assert len(places) >= 6
    for place in places:
        assert results(place) == right
        assert not leftovers(place)


def test_runs_at_once_share_the_work(folder: Path, tmp_path: Path, tiny_onnx: Path) -> None:
    restless("together", tiny_onnx, folder, tmp_path / "out")
    outcomes = Counter()
    for report in tmp_path.glob("report-*.jsonl"):
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        assert len(lines) == 14
        outcomes.update((line["source"], line["outcome"]) for line in lines)
    done = {source: n for (source, outcome), n in outcomes.items() if outcome == "done"}
    assert done == dict.fromkeys(done, 1) and len(done) == 14
    restless("together", tiny_onnx, folder, tmp_path / "alone")
    assert results(tmp_path / "out") == results(tmp_path / "alone")
    assert not leftovers(tmp_path)


def test_what_a_killed_run_was_working_on_is_done_by_the_others(
    folder: Path, tmp_path: Path, tiny_onnx: Path
) -> None:
    restless("survive", tiny_onnx, folder, tmp_path / "out", 12)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting takes root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_a_run_that_another_can_go_on_with(
    small_disk: Path, tmp_path: Path, tiny_onnx: Path
) -> None:
    for n in range(20):
        picture(tmp_path / "in" / f"{n:02}.png", (60, 60), n)
    command = [
        *(sys.executable, ROOT / "cli.py", "upscale", tmp_path / "in", "-o", small_disk),
        *("--engine", tiny_onnx),
    ]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 3, first.stderr
    made = results(small_disk)
    assert 0 < len(made) < 20
    assert f"{len(made)} upscaled" in first.stdout
    assert f"not processed: {20 - len(made)} not tried: no space is left" in first.stderr
    assert "Traceback" not in first.stderr
    assert not leftovers(small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert f"{20 - len(made)} upscaled, {len(made)} skipped" in second.stdout
