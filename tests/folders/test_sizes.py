"""Folder runs to a size: several passes, none, and results that are shrunk."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine
from folder_runs import kinds, leftovers, picture, results, run

from hat_deploy import TargetSize, Upscaler, folders, images
from hat_deploy.folders import job_list


def shapes(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: cv2.imread(str(folder / name)).shape[:2] for name in results(folder)}


@pytest.mark.parametrize("memory", [None, 1])
def test_each_image_gets_its_size(tmp_path: Path, memory: int | None) -> None:
    """However often the network runs; with little memory, results come together on the disk."""
    sizes = {"a.png": (10, 20), "b.png": (40, 80), "c.png": (100, 200), "d.png": (70, 35)}
    for seed, (name, size) in enumerate(sizes.items()):
        picture(tmp_path / "in" / name, size, seed)
    outcomes = run(tmp_path / "in", size=TargetSize(longest=80), memory=memory)
    assert set(kinds(outcomes).values()) == {"Done"}
    assert shapes(tmp_path / "in-x2") == {
        "a.png": (40, 80),
        "b.png": (40, 80),
        "c.png": (40, 80),
        "d.png": (80, 40),
    }
    assert leftovers(tmp_path / "in-x2") == []


def test_a_folder_and_an_array_come_out_the_same(tmp_path: Path) -> None:
    path = picture(tmp_path / "in" / "a.png", (17, 23))
    size = TargetSize(scale=3.3)
    outcome = run(tmp_path / "in", size=size)["a.png"]
    with Upscaler(IdentityEngine()) as upscaler:
        expected = upscaler.upscale(images.decode(path).pixels, size=size)
        one = upscaler.upscale_file(path, tmp_path / "one.png", size=size)
    made = images.decode(tmp_path / "in-x2" / "a.png").pixels
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(images.decode(tmp_path / "one.png").pixels, expected)
    assert isinstance(outcome, folders.Done) and outcome.tiles == one.tiles > 4


def test_another_size_is_another_result(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    for size, outcome in (
        (TargetSize(scale=1.5), "Done"),
        (TargetSize(scale=1.5), "Skipped"),
        (TargetSize(scale=1.25), "Done"),
        (None, "Done"),
    ):
        assert kinds(run(tmp_path / "in", size=size)) == {"a.png": outcome}


def test_a_pass_that_fails_ends_its_image(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (failed,) = run(tmp_path / "in", Upscaler(NaNEngine()), size=TargetSize(scale=8)).values()
    assert isinstance(failed, folders.Failed) and "not finite" in failed.reason
    assert results(tmp_path / "in-x2") == {}


def test_resolution_follows_the_true_factor(tmp_path: Path) -> None:
    """The size on paper stays; EXIF's resolution is a fraction of two numbers."""
    source = images.Picture(
        pixels=np.zeros((20, 30, 3), np.uint8),
        metadata=images.Metadata(density=images.Density(300.0, 300.0)),
    )
    (tmp_path / "in").mkdir()
    images.write(source, tmp_path / "in" / "a.png")
    run(tmp_path / "in", size=TargetSize(width=45))
    density = images.decode(tmp_path / "in-x2" / "a.png").metadata.density
    assert density is not None and density.x == pytest.approx(450, abs=0.1)


def test_a_background_takes_the_place_of_transparency(tmp_path: Path) -> None:
    """Half transparent black over white is gray; where nothing hides it, the background shows."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4, 3] = 128
    (tmp_path / "in").mkdir()
    images.write(images.Picture(pixels=pixels), tmp_path / "in" / "a.png")
    listed = job_list.list_jobs(
        [tmp_path / "in"], mark="-x2", output=None, recursive=False, format="jpg"
    )
    options = folders.Options(background=(255, 255, 255), quality=100)
    (done,) = folders.run(listed.jobs, Upscaler(IdentityEngine()), options)
    assert isinstance(done, folders.Done)
    made = images.decode(done.target).pixels
    assert made.shape == (16, 16, 3)
    assert np.abs(made[:, :6].astype(int) - 127).max() <= 3
    assert made[:, 10:].min() >= 252
    (again,) = folders.run(listed.jobs, Upscaler(IdentityEngine()), options)
    assert isinstance(again, folders.Skipped)


def test_times_are_kept(tmp_path: Path) -> None:
    path = picture(tmp_path / "in" / "a.png")
    os.utime(path, ns=(10**18, 10**18))
    run(tmp_path / "in", keep_times=True)
    assert (tmp_path / "in-x2" / "a.png").stat().st_mtime_ns == 10**18
    assert kinds(run(tmp_path / "in", keep_times=True)) == {"a.png": "Skipped"}
