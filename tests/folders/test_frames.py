"""Animations through a folder run: each frame enlarged as an image of its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine
from folder_runs import picture, run
from PIL import Image

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.errors import PictureError

FLAT = np.repeat(
    np.repeat(np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8), 8, 0), 8, 1
)
FRAMES = [FLAT, FLAT[::-1], FLAT[:, ::-1]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first, *others = [Image.fromarray(frame) for frame in FRAMES]
    path = picture(tmp_path / "in" / "a.png", (24, 40)).parent
    for name, options in (("b.gif", {}), ("c.webp", {"lossless": True})):
        how = {"duration": [40, 70, 100], "loop": 2, **options}
        first.save(path / name, save_all=True, append_images=others, **how)
    return path


def frames(path: Path) -> list[np.ndarray]:
    image = Image.open(path)
    found = []
    for number in range(image.n_frames):
        image.seek(number)
        found.append(np.asarray(image.convert("RGB")))
    return found


def doubled(frame: np.ndarray) -> np.ndarray:
    return frame.repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("batch", [1, 4])
def test_every_frame_is_enlarged_and_nothing_of_its_neighbours(folder: Path, batch: int) -> None:
    seen = []
    outcomes = run(folder, Upscaler(IdentityEngine(batch=batch)), progress=seen.append, quality=100)
    assert [type(outcome) for outcome in outcomes.values()] == [folders.Done] * 3
    out = folder.with_name("in-x2")
    for shown, frame in zip(frames(out / "c.webp"), FRAMES, strict=True):
        assert np.array_equal(shown, doubled(frame))
    for shown, frame in zip(frames(out / "b.gif"), FRAMES, strict=True):
        assert np.abs(shown.astype(int) - doubled(frame)).mean() < 3
    moving = Image.open(out / "b.gif")
    assert (moving.info["loop"], moving.info["duration"]) == (2, 40)
    done = outcomes["b.gif"]
    assert isinstance(done, folders.Done) and done.tiles % 3 == 0
    assert max(step.tiles for step in seen) == done.tiles
    again = run(folder, Upscaler(IdentityEngine(batch=batch)), quality=100)
    assert {type(outcome) for outcome in again.values()} == {folders.Skipped}


def test_a_result_beyond_the_memory_is_put_together_on_disk(folder: Path) -> None:
    outcomes = run(folder, quality=100, memory=2**14)
    assert {type(outcome) for outcome in outcomes.values()} == {folders.Done}
    shown = frames(folder.with_name("in-x2") / "c.webp")
    assert np.array_equal(shown[2], doubled(FRAMES[2]))


def test_times_are_kept_for_animations_and_single_images_alike(folder: Path) -> None:
    for number, source in enumerate(sorted(folder.iterdir())):
        os.utime(source, (1_500_000_000 + number,) * 2)
    run(folder, keep_times=True, quality=100)
    kept = {path.name: path.stat().st_mtime for path in folder.with_name("in-x2").glob("[a-c].*")}
    assert kept == {name: 1_500_000_000 + n for n, name in enumerate(["a.png", "b.gif", "c.webp"])}


def test_a_frame_that_fails_fails_the_animation(folder: Path) -> None:
    failed = run(folder, Upscaler(NaNEngine()))["b.gif"]
    assert isinstance(failed, folders.Failed)
    assert not (folder.with_name("in-x2") / "b.gif").exists()


def test_one_file_into_a_format_of_one_image_is_refused_before_it_is_computed(
    folder: Path, tmp_path: Path
) -> None:
    engine = IdentityEngine()
    upscaler = Upscaler(engine)
    with pytest.raises(PictureError, match="it has 3 frames, and PNG holds one"):
        upscaler.upscale_file(folder / "b.gif", tmp_path / "b.png")
    assert engine.calls == 0
    steps: list[tuple[int, int]] = []
    upscaler.upscale_file(
        folder / "c.webp", tmp_path / "c.webp", quality=100, progress=lambda *at: steps.append(at)
    )
    assert np.array_equal(frames(tmp_path / "c.webp")[1], doubled(FRAMES[1]))
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
