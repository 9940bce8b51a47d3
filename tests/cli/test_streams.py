"""What becomes of a command whose output nobody reads: real processes and closed pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def unread(*arguments: object, errors: bool = True, closed: bool = False) -> int:
    """Run a command that prints into a pipe whose other end is closed; the exit code.

    Args:
        errors: whether standard error goes there too.
        closed: whether both streams are closed from the start instead.
    """

    def close() -> None:
        os.close(1)
        os.close(2)

    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", *map(str, arguments)],
        stdout=writing,
        stderr=writing if errors else subprocess.PIPE,
        preexec_fn=close if closed else None,
    )
    os.close(writing)
    _, said = process.communicate(timeout=300)
    assert not said
    return process.returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    # libjpeg complains about this one on standard error, and the rest of it is used.
    whole = (folder / "0.jpg").read_bytes()
    (folder / "0.jpg").write_bytes(whole.replace(b"\xff\xd9", b"\xff\xd0\xff\xd9"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("closed", [False, True])
def test_a_folder_is_done(folder: Path, tiny_onnx: Path, tmp_path: Path, closed: bool) -> None:
    report = tmp_path / "run.jsonl"
    command = ("upscale", folder, "--engine", tiny_onnx, "--report", report)
    assert unread(*command, closed=closed) == 0
    assert len([json.loads(line) for line in report.open()]) == 6
    for number in range(6):
        image = Image.open(tmp_path / "photos-x2" / f"{number}.jpg")
        image.load()
        assert image.size == (40, 40)
    (folder / "bad.png").write_bytes(b"hello")
    assert unread(*command, closed=closed) == 3


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_work(
    folder: Path, tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    assert unread("evaluate", "--hr", folder, "--engine", tiny_onnx, "--csv", table) == 0
    assert table.read_text().count("\n") == 8
    verify = ("verify", "--engine", tiny_onnx, "--reference", tiny_checkpoint, folder / "1.jpg")
    assert unread(*verify, "--no-whole") == 0
    assert unread(*verify, "--no-whole", "--max-abs", "1e-12", "--min-psnr", "300") == 1


@pytest.mark.parametrize("command", [("models",), ("info", "hat-nano-x2"), ("--help",)])
def test_what_only_prints_ends_as_cat_does(command: tuple[str, ...]) -> None:
    assert unread(*command, errors=False) == -signal.SIGPIPE
