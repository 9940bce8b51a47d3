"""A real Ray cluster of several nodes, each a set of processes of this machine, and its workers."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

STORE = 100 * 2**20
"""Bytes of a node's object store."""


@contextmanager
def cluster(nodes: int = 2, cores: int = 1) -> Iterator[str]:
    """A cluster with so many cores a node, and its address; all its processes end with the block.

    What they need of the environment must be set before.
    """
    os.environ["RAY_AUTH_MODE"] = "disabled"  # a token would be written into the user's home
    made = Cluster()
    with temporary() as folder:
        try:
            for number in range(nodes):
                head = {"include_dashboard": False, "temp_dir": folder} if number == 0 else {}
                made.add_node(num_cpus=cores, object_store_memory=STORE, **head)
            yield made.address
        finally:
            ray.shutdown()
            made.shutdown()


@contextmanager
def temporary() -> Iterator[str]:
    """A folder for a cluster; whatever still runs there is killed in the end.

    Sockets lie there, whose names may be 107 bytes long.
    """
    folder = tempfile.mkdtemp(prefix="ray-")
    try:
        yield folder
    finally:
        for process in processes(folder):
            kill(process)
        shutil.rmtree(folder, ignore_errors=True)


def processes(folder: str) -> list[int]:
    """The process IDs of a cluster's own processes, by the folder on their command lines."""
    return [process for process, name in _named() if folder.encode() in name]


def workers() -> list[int]:
    """The process IDs of the engines of runs that this process started, the oldest first."""
    found = []
    for process, name in _named():
        with suppress(OSError):
            if name.startswith(b"ray::") and b"Crew" in name and _is_ours(process):
                found.append(process)
    return sorted(found)


def _named() -> Iterator[tuple[int, bytes]]:
    """All processes of this machine, and their command lines."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes()


def kill(process: int) -> bool:
    """Send a SIGKILL; whether there was such a process."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_ours(process: int) -> bool:
    while process > 1:
        if process == os.getpid():
            return True
        text = Path(f"/proc/{process}/stat").read_text()
        process = int(text.rpartition(")")[2].split()[1])
    return False
