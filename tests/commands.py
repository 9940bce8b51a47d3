"""Commands as a user types them, run in this process."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hat_deploy import cli


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def refused(self, *words: str) -> bool:
        """Whether it ended in one sentence, exit code 2, that has all these words."""
        (line,) = self.err.splitlines()
        assert self.code == 2 and line.startswith("error: ")
        return all(word in line for word in words)


Run = Callable[..., Ended]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(line: str, *more: object) -> Ended:
        arguments = [*shlex.split(line), *map(str, more)]
        monkeypatch.setattr(sys, "argv", ["hat-deploy", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    return run
