"""Runs that are killed, as a process of its own that forks them: imports are paid for once.

    python restless.py kill ARTIFACT SOURCES RESULTS SEED
    python restless.py together ARTIFACT SOURCES RESULTS
    python restless.py survive ARTIFACT SOURCES RESULTS SEED

``kill`` starts a run, kills it at a random moment and starts it again, a few times a folder and
fifty times in all, and lets the last run of each folder end: RESULTS/0, RESULTS/1, ... must
then hold the same. ``together`` starts three runs on RESULTS at once, each with its report;
``survive`` kills one of three, six times over.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.engines.base import Engine
from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine
from hat_deploy.folders import job_list
from hat_deploy.folders.outcome_log import Report

KILLS = 50


def run(engine: Engine, folder: Path, output: Path, report: Path | None = None) -> None:
    upscaler = Upscaler(engine)
    listed = job_list.list_jobs([folder], mark=f"-x{upscaler.scale}", output=output, recursive=True)
    with Report(report) as lines, closing(folders.run(listed.jobs, upscaler)) as outcomes:
        for outcome in outcomes:
            lines.add(outcome)
            assert not isinstance(outcome, folders.Failed), outcome


def forked(action: Callable[[], None]) -> int:
    if (child := os.fork()) == 0:
        try:
            action()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child


def ended(child: int) -> int:
    """Its exit code, or the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(engine: Engine, folder: Path, output: Path, seed: int) -> None:
    chance = random.Random(seed)
    started = time.monotonic()
    assert ended(forked(lambda: run(engine, folder, output / "undisturbed"))) == 0
    whole = time.monotonic() - started
    killed = number = 0
    while killed < KILLS:
        place = output / str(number)
        number += 1
        for _ in range(chance.randint(3, 8)):
            child = forked(lambda place=place: run(engine, folder, place))
            time.sleep(chance.uniform(0, whole))
            os.kill(child, signal.SIGKILL)
            killed += ended(child) == -signal.SIGKILL
        assert ended(forked(lambda place=place: run(engine, folder, place))) == 0
    print(f"{killed} kills, {number} folders, {whole:.2f} s a run", flush=True)


def together(engine: Engine, folder: Path, output: Path) -> None:
    def one(number: int) -> Callable[[], None]:
        return lambda: run(engine, folder, output, output.parent / f"report-{number}.jsonl")

    assert [ended(child) for child in [forked(one(number)) for number in range(3)]] == [0] * 3


def survive(engine: Engine, folder: Path, output: Path, seed: int) -> None:
    """Three runs at once, of which one is killed; what the others leave must be everything."""
    chance = random.Random(seed)
    wanted = sorted(path.name for path in folder.rglob("*") if path.is_file())
    for number in range(6):
        place = output / str(number)
        children = [forked(lambda place=place: run(engine, folder, place)) for _ in range(3)]
        while not (place.is_dir() and any(place.rglob("*.*"))):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.2))
        os.kill(children[0], signal.SIGKILL)
        ended(children[0])
        assert [ended(child) for child in children[1:]] == [0, 0]
        # What the killed run was writing lies in a hidden folder, for the next run to remove.
        files = [p for p in place.rglob("*") if p.is_file()]
        made = sorted(
            p.name for p in files if not any(x[0] == "." for x in p.relative_to(place).parts)
        )
        assert made == wanted, (made, wanted)


if __name__ == "__main__":
    what, artifact, folder, output, *seed = sys.argv[1:]
    # With one thread it starts none, so that children may use it.
    engine = OnnxRuntimeEngine(Path(artifact), threads=1)
    if what == "kill":
        kill(engine, Path(folder), Path(output), int(seed[0]))
    elif what == "survive":
        survive(engine, Path(folder), Path(output), int(seed[0]))
    else:
        together(engine, Path(folder), Path(output))
