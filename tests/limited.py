"""Runs commands where memory is short, each in a process forked from one that has loaded torch.

``python limited.py EXTRA`` reads commands from stdin, one JSON list of arguments a line, and
answers each with a JSON object: ``status`` (negative for a signal), ``stdout``, ``stderr``.
EXTRA is how many bytes of data a command may have beyond what the idle process has.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GENEROUS = 600
"""Seconds after which the processor's time of one command is up."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def run_limited(commands: Iterable[list[str]], extra: int = 2**30) -> list[Ended]:
    """How ``hat-deploy`` with each of these arguments ends, with so many bytes to allocate."""
    done = subprocess.run(
        [sys.executable, __file__, str(extra)],
        input="".join(json.dumps(arguments) + "\n" for arguments in commands),
        capture_output=True,
        text=True,
        check=True,
    )
    return [Ended(**json.loads(line)) for line in done.stdout.splitlines()]


def _main() -> None:
    import torch

    from hat_deploy.artifact import info  # noqa: F401 - loaded once, for every command
    from hat_deploy.cli import app  # noqa: F401
    from hat_deploy.networks import checkpoint  # noqa: F401

    torch.set_num_threads(1)
    limit = _data_bytes() + int(sys.argv[1])
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                _command(json.loads(line), limit, out, err)
            _, status = os.waitpid(child, 0)
            found = {"status": os.waitstatus_to_exitcode(status)}
            texts = {"stdout": _text(out), "stderr": _text(err)}
        print(json.dumps(found | texts), flush=True)


def _command(arguments: list[str], limit: int, out: IO[bytes], err: IO[bytes]) -> None:
    status = 70
    try:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (GENEROUS, GENEROUS))
        from hat_deploy.cli import main

        sys.argv = ["hat-deploy", *arguments]
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmData in /proc/self/status")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace")


if __name__ == "__main__":
    _main()
