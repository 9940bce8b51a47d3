"""A folder of a million objects: page by page, in little memory, begun at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, time
from datetime import datetime, UTC
from types import SimpleNamespace
from hat_deploy.folders.places import stores
from hat_deploy.folders.places.remote import Remote
from hat_deploy.folders.job_stream import stream_jobs
from hat_deploy.folders.waiting import Waiting

NAMES = int(sys.argv[1])
CHANGED = datetime(2026, 1, 1, tzinfo=UTC)
pages = 0

def call_s3(method, *, ContinuationToken="0", **asked):
    global pages
    pages += 1
    first = int(ContinuationToken)
    keys = range(first, min(NAMES, first + 1000))
    contents = [
        {"Key": f"in/{key % 977}/image-{key:09}.jpg", "Size": key, "LastModified": CHANGED}
        for key in keys
    ]
    more = first + 1000 < NAMES
    return {"Contents": contents, "IsTruncated": more, "NextContinuationToken": str(first + 1000)}

store = stores.Store.__new__(stores.Store)
store.scheme = "s3"
store.files = SimpleNamespace(call_s3=call_s3, info=lambda path: {"type": "directory"})
stores._open["s3"] = store
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.monotonic()
jobs = Waiting(stream_jobs([Remote("s3://b/in")], mark="", output=Remote("s3://b/out"),
                           recursive=True))
first = jobs.take()
begun, read = time.monotonic() - started, pages
jobs.settle(first.source, first.target)
while (job := jobs.take()) is not None:
    jobs.settle(job.source, job.target)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(jobs.total, read, grown, f"{begun:.3f}", f"{time.monotonic() - started:.1f}")
"""


def listed(names: int) -> tuple[int, int, int]:
    """Jobs, pages that were read before the first one, and KiB that the process grew by."""
    command = [sys.executable, "-c", PROGRAM, str(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(done.stdout)
    jobs, pages, grown = map(int, done.stdout.split()[:3])
    return jobs, pages, grown


@pytest.mark.parametrize(
    "names",
    [pytest.param(30_000, marks=pytest.mark.slow), pytest.param(10**6, marks=pytest.mark.slowest)],
)
def test_a_long_listing_takes_no_memory(names: int) -> None:
    jobs, pages, grown = listed(names)
    assert (jobs, pages) == (names, 1)
    assert grown < 16 * 1024
