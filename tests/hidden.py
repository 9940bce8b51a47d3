"""Commands where libraries are not installed: a child process that finds none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_RUN = """
import contextlib, io, json, sys, traceback
hidden, commands = json.loads(sys.argv[1])

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
for name in hidden:
    sys.modules[name] = None  # so that importlib.util.find_spec, too, finds nothing

from hat_deploy.cli import main

for command in commands:
    sys.argv = ["hat-deploy", *command]
    said = io.StringIO()
    code = None
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
    print(json.dumps([code, said.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    code: int | None
    said: str


def run(hidden: Iterable[str], commands: Sequence[Sequence[object]], folder: Path) -> list[Ended]:
    """Run commands one after the other, with modules hidden from all of them."""
    order = json.dumps([list(hidden), [[str(part) for part in command] for command in commands]])
    done = subprocess.run(
        [sys.executable, "-c", _RUN, order],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]


def python(hidden: Iterable[str], code: str, folder: Path) -> str:
    """What a script prints, with modules hidden from it."""
    start = _RUN.partition("from hat_deploy")[0]
    order = json.dumps([list(hidden), []])
    done = subprocess.run(
        [sys.executable, "-c", start + code, order],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=600,
    )
    return done.stdout + done.stderr
