"""``hat-deploy cache``, and options from the environment."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from commands import Run

from hat_deploy import cache

DAY = 24 * 3600


@pytest.fixture
def kept(tiny_onnx: Path) -> list[Path]:
    """An artifact used now, and a note used ten days ago."""
    new = cache.keep({"a": 1}, ".onnx", lambda path: shutil.copyfile(tiny_onnx, path))
    old = cache.keep({"a": 2}, ".tested", lambda path: path.write_text("70 dB"))
    os.utime(old, (time.time() - 10 * DAY,) * 2)
    return [new, old]


def test_list_says_what_how_large_and_when(kept: list[Path], run: Run) -> None:
    told = run("cache list").out
    assert "artifact: tiny x2, fp32, tile 24x16" in told
    assert "note that an artifact passed its test" in told
    assert "2 entries, " in told and "of 10,737.4 MB (HAT_DEPLOY_CACHE_SIZE)" in told
    values = json.loads(run("cache list --json").out)
    assert [entry["file"] for entry in values["entries"]] == [path.name for path in kept]
    assert values["bytes"] == sum(path.stat().st_size for path in kept)


def test_clear_asks_first(kept: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("cache clear").refused("2 entries, ", "would be removed", "add --yes")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["n", "y"])
    monkeypatch.setattr("typer.confirm", lambda question: next(answers) == "y")
    assert run("cache clear").out == "nothing was removed\n"
    assert all(path.exists() for path in kept)
    assert run("cache clear").out.startswith("removed 2 of 2 entries, ")
    assert not any(path.exists() for path in kept)


def test_clear_leaves_what_was_used_since(kept: list[Path], run: Run) -> None:
    new, old = kept
    assert run("cache clear --older-than 11d --yes").out == "removed 0 of 0 entries, 0.0 MB\n"
    assert run("cache clear --older-than 1w --yes").out == "removed 1 of 1 entry, 0.0 MB\n"
    assert new.exists() and not old.exists()
    assert run("cache clear --older-than soon").refused("--older-than soon: give hours, days")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HAT_DEPLOY_MODEL", "nope", "'nope' is neither a file nor a model that ships"),
        ("HAT_DEPLOY_ENGINE", "nope.onnx", "nope.onnx is not a file"),
        ("HAT_DEPLOY_DEVICE", "gpu", "device gpu: use cpu, cuda"),
        ("HAT_DEPLOY_MEMORY", "12Q", "--memory 12Q: write bytes"),
    ],
)
def test_a_bad_value_names_its_variable(
    variable: str, value: str, says: str, here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "photos").mkdir()
    monkeypatch.setenv(variable, value)
    ended = run("upscale photos")
    assert ended.refused(says, f"(from the environment: {variable}={value})")


def test_the_command_line_goes_before_the_environment(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "photos").mkdir()
    monkeypatch.setenv("HAT_DEPLOY_ENGINE", "nope.onnx")
    assert run("upscale photos --model none.pth").refused("there is no checkpoint none.pth")
    monkeypatch.setenv("HAT_DEPLOY_MODEL", "nope")
    assert run("upscale photos --engine tiny.onnx").code == 0
    assert run("upscale photos").refused("--model and --engine cannot be used together")
    assert run("upscale photos --model a --engine b.onnx").refused("cannot be used together")
