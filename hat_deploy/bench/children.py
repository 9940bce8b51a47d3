"""Measuring in a child process, which starts with nothing loaded and nothing allocated.

Not ``multiprocessing``: its children first import the script that their parent runs, and with
it whatever that script imports.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_START = "import sys; from hat_deploy.bench.children import serve; serve(*sys.argv[1:])"


class ChildDied(Exception):
    """The child ended without a result, as when it runs out of memory."""


def in_child(function: Callable[..., Result], *arguments: Any, threads: int) -> Result:
    """Run a function of a module in a new interpreter and return what it returns.

    Args:
        function: can be pickled, as its arguments and its result.
        threads: what numerical libraries in the child use; they read it when they load.

    Raises:
        ChildDied: it ended without a result; the message is the last line it wrote.
    """
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder) / "task", Path(folder) / "answer"
        task.write_bytes(pickle.dumps((function, arguments)))
        child = subprocess.run(
            [sys.executable, "-c", _START, str(task), str(answer)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if child.returncode != 0:
            said = child.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ChildDied(said[-1] if said else f"it ended with code {child.returncode}")
        result: Result = pickle.loads(answer.read_bytes())
        return result


def serve(task: str, answer: str) -> None:
    """What the child does."""
    function, arguments = pickle.loads(Path(task).read_bytes())
    Path(answer).write_bytes(pickle.dumps(function(*arguments)))
