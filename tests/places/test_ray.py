"""Runs on a real Ray cluster of several nodes, whose workers are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import interrupts
import pyarrow.parquet as parquet
import pytest
import rays
from commands import Run
from test_runs import fill, lines, objects

from hat_deploy.folders.journal_segments import FOLDER
from hat_deploy.folders.places import listing
from hat_deploy.folders.places.remote import Remote
from hat_deploy.folders.places.stores import Store, store_of
from hat_deploy.folders.status import status_of

sys.path.insert(0, str(Path(__file__).parents[1] / "folders"))
from folder_runs import picture

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import this very package."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class Killer(threading.Thread):
    """Kills a worker at each moment, which is given by the number of results that are there."""

    def __init__(self, folder: Remote, moments: list[int]) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._moments = moments
        self._chance = random.Random(23)
        self._over = threading.Event()
        self.killed = 0

    def run(self) -> None:
        for moment in self._moments:
            while self._results() < moment or not (workers := rays.workers()):
                if self._over.wait(0.05):
                    return
            self.killed += rays.kill(self._chance.choice(workers))

    def _results(self) -> int:
        found = listing.objects(self._folder, recursive=True)
        return sum(FOLDER not in place.url for place in found)

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def outcomes(folder: Remote) -> Iterator[dict[str, object]]:
    """The rows of all tables that runs left."""
    for place in listing.objects(folder / FOLDER, recursive=True):
        if place.suffix == ".parquet":
            yield from parquet.read_table(store_of(place).files.open(place.url)).to_pylist()


@pytest.mark.slow
def test_a_worker_that_was_killed_is_replaced_and_nothing_is_lost(
    bucket: Remote, store: Store, run: Run, quick_checkpoint: Path
) -> None:
    fill(bucket / "in", 12)
    store.write(b"no image", bucket / "in/bad.png")
    local = run(f"upscale {bucket}/in -o {bucket}/local --model {quick_checkpoint}")
    assert local.code == 3, local.err
    with rays.cluster() as address:
        line = f"upscale {bucket}/in -o {bucket}/out --model {quick_checkpoint} --ray {address}"
        with Killer(bucket / "out", [1]) as killer:
            first = run(line)
        assert killer.killed == 1
        assert first.code == 3 and "12 upscaled, 0 skipped" in first.out, first.err
        assert "bad.png" in first.err
        made = objects(bucket / "out")
        assert made == objects(bucket / "local")
        assert lines(bucket / "out") == sorted(made)
        told = status_of(bucket / "out")
        assert (told.done, told.missing, len(told.failures)) == (12, 0, 1)
        assert Counter(row["outcome"] for row in outcomes(bucket / "out")) == {
            "done": 12,
            "failed": 1,
        }
        store.write(b"no image", bucket / "in/other.png")
        again = run(line)
        assert "0 upscaled, 12 skipped" in again.out and "other.png" in again.err
    after = run(f"upscale {bucket}/in -o {bucket}/out --model {quick_checkpoint}")
    assert "0 upscaled, 12 skipped" in after.out
    assert lines(bucket / "out") == sorted(made)


@pytest.mark.slowest
def test_four_hundred_images_and_twenty_kills(
    bucket: Remote, run: Run, quick_checkpoint: Path
) -> None:
    fill(bucket / "in", 400)
    local = run(f"upscale {bucket}/in -o {bucket}/local --model {quick_checkpoint}")
    assert local.code == 0, local.err
    moments = sorted(random.Random(19).randint(0, 380) for _ in range(20))
    with rays.cluster() as address, Killer(bucket / "out", moments) as killer:
        line = f"upscale {bucket}/in -o {bucket}/out --model {quick_checkpoint} --ray {address}"
        ended = run(line)
    assert killer.killed == 20
    assert ended.code == 0 and "400 upscaled, 0 skipped" in ended.out, ended.err
    made = objects(bucket / "out")
    assert made == objects(bucket / "local") and len(made) == 400
    assert lines(bucket / "out") == sorted(made)
    told = status_of(bucket / "out")
    assert (told.done, told.missing, told.failures) == (400, 0, [])
    rows = Counter(str(row["source"]) for row in outcomes(bucket / "out"))
    assert len(rows) == rows.total() == 400


@pytest.mark.slowest
def test_an_interrupt_ends_a_cluster_that_was_started_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        picture(tmp_path / "in" / f"{number}.png", seed=number, size=(160, 160))
    with rays.temporary() as place:
        environment = {**os.environ, "RAY_TMPDIR": place}
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), "upscale", "in", "-o", "out", "--ray", "local"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
            preexec_fn=interrupts.default,
        )
        while process.poll() is None and not [*tmp_path.glob("out/*.png")]:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
        assert rays.processes(place) == []
    made = [*tmp_path.glob("out/*.png")]
    assert "upscaled" in out and 0 < len(made) < 60
    assert all(cv2.imread(str(path)).shape == (320, 320, 3) for path in made)
    assert status_of(tmp_path / "out").done >= len(made)
