"""Runs on clips that are killed and go on: the result is that of a run that was not."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_files import make, run, times_of
from fakes import IdentityEngine

from hat_deploy.api import Upscaler
from hat_deploy.folders import Done, Skipped
from hat_deploy.folders.segments import folder_of
from hat_deploy.video import computing, parts

FRAMES = 40
"""In a part, so that tests need fewer."""
LONG = 2 * FRAMES + 40
SIZE = (16, 16)


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "FRAMES", FRAMES)


class Interrupted(IdentityEngine):
    """Stops as Ctrl-C does, after some calls."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def run(self, batch: np.ndarray) -> np.ndarray:
        if self.calls == self._after:
            raise KeyboardInterrupt
        return super().run(batch)


def long(folder: Path, **how: Any) -> Path:
    options = {"bf": "2", "threads": "1"}
    return make(folder / "a.mp4", frames=LONG, size=SIZE, options=options, **how)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, codec: str) -> None:
    clip = long(tmp_path)
    whole = run(clip, tmp_path / "whole" / "a.mp4", codec=codec)
    assert isinstance(whole, Done) and whole.tiles == LONG
    target = tmp_path / "b" / "a.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(clip, target, Upscaler(Interrupted(FRAMES + 37)), codec=codec)
    assert not target.exists()
    kept = sorted(path.name for path in folder_of(target).glob("*.part"))
    assert kept == ["000000.part"]
    engine = IdentityEngine()
    done = run(clip, target, Upscaler(engine), codec=codec)
    assert isinstance(done, Done) and engine.calls == LONG - FRAMES
    assert digest(target) == digest(whole.target)
    assert not folder_of(target).exists()
    assert times_of(target) == times_of(clip)
    assert isinstance(run(clip, target, codec=codec), Skipped)


def test_parts_that_do_not_fit_are_made_again(tmp_path: Path) -> None:
    clip = long(tmp_path)
    target = tmp_path / "b" / "a.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(clip, target, Upscaler(Interrupted(2 * FRAMES + 37)))
    first, second = sorted(folder_of(target).glob("*.part"))
    second.write_bytes(second.read_bytes()[:-1])
    engine = IdentityEngine()
    with pytest.raises(KeyboardInterrupt):
        run(clip, target, Upscaler(Interrupted(20)), crf=30)
    assert first.exists()
    assert isinstance(run(clip, target, Upscaler(engine)), Done)
    assert engine.calls == LONG - FRAMES
    assert digest(target) == digest(run(clip, tmp_path / "whole" / "a.mp4").target)


def test_a_clip_that_has_changed_starts_anew(tmp_path: Path) -> None:
    clip = long(tmp_path)
    target = tmp_path / "b" / "a.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(clip, target, Upscaler(Interrupted(FRAMES + 37)))
    long(tmp_path, pixel_format="yuv422p")
    engine = IdentityEngine()
    assert isinstance(run(clip, target, Upscaler(engine)), Done)
    assert engine.calls == LONG


def test_every_part_begins_with_a_key_frame(tmp_path: Path) -> None:
    clip = long(tmp_path)
    target = tmp_path / "b" / "a.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(clip, target, Upscaler(Interrupted(2 * FRAMES + 37)))
    for path in folder_of(target).glob("*.part"):
        packets = list(parts.read(path))
        assert len(packets) == FRAMES and packets[0].key
        assert packets[0].pts == min(packet.pts for packet in packets)


CHILD = """
import sys, time
sys.path[:0] = [{tests!r}, {here!r}]
from pathlib import Path
from clip_files import run
from fakes import IdentityEngine
from hat_deploy.api import Upscaler
from hat_deploy.video import computing

computing.FRAMES = {frames}

class Slow(IdentityEngine):
    def run(self, batch):
        time.sleep(0.002)
        return super().run(batch)

print(run(Path(sys.argv[1]), Path(sys.argv[2]), Upscaler(Slow())), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bytes(
    tmp_path: Path, suffix: str
) -> None:
    clip = long(tmp_path)
    whole = run(clip, tmp_path / "whole" / f"a{suffix}")
    assert isinstance(whole, Done)
    target = tmp_path / "b" / f"a{suffix}"
    here = Path(__file__).parent
    code = CHILD.format(tests=str(here.parent), here=str(here), frames=FRAMES)
    killed = 0
    for wanted in (1, 2):  # after each part
        child = subprocess.Popen([sys.executable, "-c", code, str(clip), str(target)])
        while child.poll() is None and len(list(folder_of(target).glob("*.part"))) < wanted:
            time.sleep(0.005)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
        child.wait()
    assert killed
    assert isinstance(run(clip, target), Done)
    assert digest(target) == digest(whole.target)
    hidden = [path.name for path in target.parent.glob(".*")]
    assert hidden == [".hat-deploy-journal.jsonl"]
