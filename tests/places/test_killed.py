"""Shares of a run on a bucket that are killed again and again, and a server that fails."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stores import Faulty
from test_runs import fill, kinds, lines, objects, upscale

from hat_deploy.folders.outcomes import Failed
from hat_deploy.folders.places.remote import Remote
from hat_deploy.folders.status import status_of

SHARE = Path(__file__).parent / "share.py"


def start(shard: str, bucket: Remote) -> subprocess.Popen[str]:
    command = [sys.executable, str(SHARE), shard, f"{bucket}/in", f"{bucket}/out"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_after(shard: str, bucket: Remote, images: int) -> bool:
    """Kill a share once it has told of so many images; False if it ended before."""
    process = start(shard, bucket)
    assert process.stdout is not None
    told = 0
    while told < images and process.stdout.readline():
        told += 1
    process.kill()
    return process.wait() == -signal.SIGKILL


def survive(bucket: Remote, *, images: int, kills: int, shards: int) -> int:
    """Kill shares until there were so many; what they leave at last must be everything, once.

    Returns:
        How many were killed.
    """
    fill(bucket / "in", images)
    chance = random.Random(19)
    killed = 0
    while killed < kills:
        names = [f"{number}/{shards}" for number in range(shards)]
        few = max(1, images // shards // (2 * kills // shards))
        with ThreadPoolExecutor(shards) as pool:
            moments = [chance.randint(0, few) for _ in names]
            killed += sum(pool.map(kill_after, names, [bucket] * shards, moments))
    ends = [start(f"{number}/{shards}", bucket) for number in range(shards)]
    for process in ends:
        process.communicate()
        assert process.returncode == 0
    told = status_of(bucket / "out")
    assert (told.done, told.missing, told.failures) == (images, 0, [])
    made = objects(bucket / "out")
    assert set(kinds(upscale(bucket / "in", bucket / "undisturbed")).values()) == {"Done"}
    assert made == objects(bucket / "undisturbed") and len(made) == images
    assert sorted(lines(bucket / "out")) == sorted(made)
    return killed


@pytest.mark.slow
def test_killed_shares_go_on(bucket: Remote) -> None:
    assert survive(bucket, images=12, kills=1, shards=1) == 1


@pytest.mark.slowest
def test_twenty_kills(bucket: Remote) -> None:
    assert survive(bucket, images=400, kills=20, shards=4) >= 20


@pytest.mark.slowest
def test_a_thousand_objects_from_a_server_that_fails(bucket: Remote, app: Faulty) -> None:
    fill(bucket / "in", 1000)
    app.counts.clear()
    app.share = 0.05
    found = upscale(bucket / "in", bucket / "out")
    app.share = 0.0
    failed = [str(outcome.reason) for outcome in found.values() if isinstance(outcome, Failed)]
    assert not failed
    assert Counter(kinds(found).values()) == {"Done": 1000}
    assert len(objects(bucket / "out")) == 1000
    print(f"\n{dict(app.counts)}")
