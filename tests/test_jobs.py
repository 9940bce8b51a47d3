from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine

from hat_deploy import jobs, sources
from hat_deploy.upscaler import Upscaler


def make_picture(path: Path, size: tuple[int, int] = (6, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def run(folder: Path, upscaler: Upscaler | None = None, **options: bool) -> list[jobs.Outcome]:
    upscaler = upscaler or Upscaler(IdentityEngine())
    plan = sources.plan([folder], scale=2, output=None, recursive=True)
    return list(jobs.run(plan.jobs, upscaler, **options))


def test_every_picture_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    source = make_picture(folder / "a.png")
    make_picture(folder / "sub" / "b.bmp")
    outcomes = run(folder)
    assert [type(o) for o in outcomes] == [jobs.Done, jobs.Done]
    result = cv2.imread(str(tmp_path / "in-x2" / "a.png"))
    assert np.array_equal(result, cv2.imread(str(source)).repeat(2, 0).repeat(2, 1))
    assert (tmp_path / "in-x2" / "sub" / "b.bmp").is_file()


def test_existing_results_are_skipped_unless_told(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    run(tmp_path / "in")
    result = tmp_path / "in-x2" / "a.png"
    result.write_bytes(b"mine")
    assert isinstance(run(tmp_path / "in")[0], jobs.Skipped)
    assert result.read_bytes() == b"mine"
    assert isinstance(run(tmp_path / "in", overwrite=True)[0], jobs.Done)
    assert result.read_bytes() != b"mine"


def test_a_broken_picture_is_listed_and_the_rest_done(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"not a picture")
    make_picture(tmp_path / "in" / "c.png")
    done, failed, after = run(tmp_path / "in")
    assert isinstance(done, jobs.Done) and isinstance(after, jobs.Done)
    assert isinstance(failed, jobs.Failed) and failed.source.name == "b.png"
    assert not (tmp_path / "in-x2" / "b.png").exists()


def test_a_vanished_picture_is_listed(tmp_path: Path) -> None:
    job = sources.Job(tmp_path / "gone.png", tmp_path / "out.png")
    (failed,) = jobs.run([job], Upscaler(IdentityEngine()))
    assert isinstance(failed, jobs.Failed)


def test_values_that_are_not_finite_write_nothing(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    (failed,) = run(tmp_path / "in", Upscaler(NaNEngine()))
    assert isinstance(failed, jobs.Failed) and "not finite" in failed.reason
    assert not list((tmp_path).rglob("in-x2/*"))


def test_an_interrupt_leaves_no_half_file(tmp_path: Path) -> None:
    class Interrupting(IdentityEngine):
        def run(self, batch: np.ndarray) -> np.ndarray:
            raise KeyboardInterrupt

    make_picture(tmp_path / "in" / "a.png")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", Upscaler(Interrupting()))
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.parent.name == "in-x2"]


def test_progress_counts_tiles(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png", (40, 40))
    seen: list[tuple[int, int]] = []
    plan = sources.plan([tmp_path / "in"], scale=2, output=None, recursive=False)
    upscaler = Upscaler(IdentityEngine(batch=2), halo=4)
    list(jobs.run(plan.jobs, upscaler, on_tiles=lambda *counts: seen.append(counts)))
    total = upscaler.tiles(40, 40)
    assert seen[-1] == (total, total)
    assert len(seen) == -(-total // 2)


def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "in-x2").write_text("a file where the folder should be")
    else:
        (tmp_path / "in-x2").mkdir(mode=0o500)
    make_picture(tmp_path / "in" / "a.png")
    (failed,) = run(tmp_path / "in")
    assert isinstance(failed, jobs.Failed) and "\n" not in failed.reason
