"""Joining a Ray cluster, or starting one, and how many workers it has room for."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hat_deploy.errors import UsageError, needed_for

AUTO, LOCAL = "auto", "local"
"""Values that are no address: the cluster that is running here, and one of this run's own."""

PATIENCE = 10.0
"""Seconds to wait for a cluster's answer."""


@contextmanager
def joined(address: str, *, verbose: bool) -> Iterator[None]:
    """Be the driver of a Ray job inside the block; with its end its workers end.

    Args:
        address: ``auto``, ``local``, ``HOST:PORT`` or ``ray://HOST:PORT``.
        verbose: whether what workers print is shown.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    with needed_for("Working on a cluster", library="ray"):
        import ray
        import ray.data
    _require_somebody(address)
    terminated = signal.getsignal(signal.SIGTERM)
    level = logging.INFO if verbose else logging.ERROR
    logging.getLogger("ray.data").setLevel(level)
    try:
        ray.init(address=address, log_to_driver=verbose, logging_level=level)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"--ray {address}: no cluster can be joined: {reason}") from error
    _restore(terminated)
    try:
        yield
    finally:
        ray.shutdown()
        _restore(terminated)


def _require_somebody(address: str) -> None:
    """Find out whether anything answers there, which Ray tries for minutes.

    Raises:
        UsageError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray {address}: nothing answers there: {error}") from error


def _restore(handler: object) -> None:
    """Ray answers SIGTERM itself, which this program does too."""
    if callable(handler):
        signal.signal(signal.SIGTERM, handler)


@dataclass(frozen=True)
class Room:
    """The workers that a cluster has room for."""

    workers: int
    """In all, as it stands."""
    neighbours: int
    """On one machine, at most."""
    cpus: int
    """Cores that each takes."""
    gpus: int
    """GPUs that each takes."""

    @property
    def threads(self) -> int | None:
        """Of an engine on a CPU."""
        return None if self.gpus else self.cpus


def room(*, gpu: bool, threads: int | None) -> Room:
    """One worker for each GPU; on CPUs one for each ``threads`` cores, or for each machine.

    Machines of different sizes: as many cores as the smallest has, and more workers on larger ones.

    Raises:
        UsageError: no machine has what a worker takes.
    """
    import ray

    kind = "GPU" if gpu else "CPU"
    sizes = [int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"]]
    sizes = [size for size in sizes if size]
    if not sizes:
        raise UsageError(f"no machine of the cluster offers Ray a {kind}")
    if gpu:
        return Room(sum(sizes), max(sizes), cpus=1, gpus=1)
    cpus = threads or min(sizes)
    counts = [size // cpus for size in sizes]
    if not any(counts):
        raise UsageError(f"--threads {cpus}: the largest machine offers Ray {max(sizes)} cores")
    return Room(sum(counts), max(counts), cpus=cpus, gpus=0)
