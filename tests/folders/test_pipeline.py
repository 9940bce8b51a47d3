from __future__ import annotations

import gc
import os
import resource
import struct
import threading
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine
from folder_runs import kinds, leftovers, picture, results, run

from hat_deploy import folders, images
from hat_deploy.api import Upscaler
from hat_deploy.engines.base import Array
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.folders import job_list, pipeline, stages, writing


@pytest.fixture(autouse=True)
def _no_thread_survives() -> object:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def enlarged(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED).repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("batch", [1, 3, 200])
def test_every_picture_is_done(tmp_path: Path, batch: int) -> None:
    sources_ = [
        picture(tmp_path / "in" / f"sub{n % 3}" / f"{n}.png", (1 + n % 40, 1 + 7 * n % 30), n)
        for n in range(40)
    ]
    sources_.append(picture(tmp_path / "in" / "deep.png", (30, 30), dtype=np.uint16))
    sources_.append(picture(tmp_path / "in" / "gray.bmp", (30, 30), channels=1))
    sources_.append(picture(tmp_path / "in" / "alpha.png", (30, 30), channels=4, seed=7))
    outcomes = run(tmp_path / "in", Upscaler(IdentityEngine(batch=batch)))
    assert set(kinds(outcomes).values()) == {"Done"}
    assert len(outcomes) == 43
    for source in sources_:
        target = tmp_path / "in-x2" / source.relative_to(tmp_path / "in")
        if source.name != "alpha.png":
            assert np.array_equal(cv2.imread(str(target), cv2.IMREAD_UNCHANGED), enlarged(source))
    assert not leftovers(tmp_path)


def test_small_pictures_share_batches(tmp_path: Path) -> None:
    for n in range(30):
        picture(tmp_path / "in" / f"{n}.png", seed=n)
    engine = IdentityEngine(batch=10)
    run(tmp_path / "in", Upscaler(engine))
    assert engine.calls <= 6  # three, but for a decoder that was late


def test_a_broken_picture_is_listed_and_the_rest_done(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"not a picture")
    picture(tmp_path / "in" / "c.png")
    outcomes = run(tmp_path / "in")
    assert kinds(outcomes) == {"a.png": "Done", "b.png": "Failed", "c.png": "Done"}
    assert not (tmp_path / "in-x2" / "b.png").exists()


def test_a_vanished_picture_is_listed(tmp_path: Path) -> None:
    job = job_list.Job(tmp_path / "gone.png", tmp_path / "out" / "gone.png")
    (failed,) = folders.run([job], Upscaler(IdentityEngine()))
    assert isinstance(failed, folders.Failed) and "No such file" in failed.reason


def test_a_job_given_twice_is_done_once(tmp_path: Path) -> None:
    job = job_list.Job(picture(tmp_path / "a.png"), tmp_path / "out" / "a.png")
    outcomes = list(folders.run([job, job], Upscaler(IdentityEngine())))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Done", "Skipped"]


def test_a_result_larger_than_the_memory_is_put_together_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture(tmp_path / "in" / "a.png", (60, 50))
    mapped: list[bool] = []
    write = stages.images.write

    def seen(image: images.Picture, path: Path, **options: object) -> object:
        mapped.append(isinstance(image.pixels, np.memmap))
        return write(image, path, **options)

    monkeypatch.setattr(stages.images, "write", seen)
    for memory, expected in ((60 * 50 * 3 * 4, False), (60 * 50 * 3 * 4 - 1, True)):
        outcomes = run(tmp_path / "in", memory=memory, overwrite=True)
        assert kinds(outcomes) == {"a.png": "Done"} and mapped.pop() is expected
        assert np.array_equal(cv2.imread(str(tmp_path / "in-x2" / "a.png")), enlarged(source))


def test_a_larger_picture_than_permitted_is_listed(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", (10, 11))
    (failed,) = run(tmp_path / "in", max_pixels=109).values()
    assert isinstance(failed, folders.Failed) and "109" in failed.reason


def test_values_that_are_not_finite_write_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (failed,) = run(tmp_path / "in", Upscaler(NaNEngine())).values()
    assert isinstance(failed, folders.Failed) and "not finite" in failed.reason
    assert not results(tmp_path / "in-x2")


def test_what_a_format_cannot_hold_is_listed(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", dtype=np.uint16)
    listed = job_list.list_jobs(
        [tmp_path / "in"], mark="-x2", output=tmp_path / "out", recursive=False, format="jpg"
    )
    (failed,) = folders.run(listed.jobs, Upscaler(IdentityEngine()))
    assert isinstance(failed, folders.Failed) and "16 bits" in failed.reason


def test_an_engine_that_fails_ends_the_run(tmp_path: Path) -> None:
    class Broken(IdentityEngine):
        def run(self, batch: Array) -> Array:
            if self.calls == 3:
                raise ArtifactError("the GPU is gone")
            return super().run(batch)

    for n in range(20):
        picture(tmp_path / "in" / f"{n}.png")
    with pytest.raises(ArtifactError, match="the GPU is gone"):
        run(tmp_path / "in", Upscaler(Broken()))
    assert len(results(tmp_path / "in-x2")) <= 3
    assert not leftovers(tmp_path)


def test_an_interrupt_leaves_no_half_file(tmp_path: Path) -> None:
    class Interrupted(IdentityEngine):
        def run(self, batch: Array) -> Array:
            if self.calls == 5:
                raise KeyboardInterrupt
            return super().run(batch)

    for n in range(20):
        picture(tmp_path / "in" / f"{n}.png")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", Upscaler(Interrupted()))
    for name in results(tmp_path / "in-x2"):
        assert np.array_equal(
            cv2.imread(str(tmp_path / "in-x2" / name)), enlarged(tmp_path / "in" / name)
        )
    assert not leftovers(tmp_path)
    assert set(kinds(run(tmp_path / "in")).values()) <= {"Done", "Skipped"}
    assert len(results(tmp_path / "in-x2")) == 20


def test_a_run_that_is_closed_stops(tmp_path: Path) -> None:
    for n in range(50):
        picture(tmp_path / "in" / f"{n}.png")
    listed = job_list.list_jobs([tmp_path / "in"], mark="-x2", output=None, recursive=True)
    with closing(folders.run(listed.jobs, Upscaler(IdentityEngine()))) as outcomes:
        next(outcomes)
    assert not leftovers(tmp_path)


class _OpenCVError(Exception):
    """What ``cv2.error`` is like when OpenCV cannot allocate."""

    code = -4


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ZeroDivisionError(), "it cannot be processed: ZeroDivisionError"),
        (struct.error("unpack_from\nrequires"), "cannot be processed: error: unpack_from requires"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (MemoryError(), "not enough memory"),
        (_OpenCVError("OutOfMemoryError"), "not enough memory"),
        (ValueError("x" * 10_000), "ValueError: xxx"),
    ],
)
@pytest.mark.parametrize("stage", ["decode_bytes", "write", "enlargement"])
def test_any_error_about_one_image_is_that_images_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception, says: str
) -> None:
    for n in range(3):
        picture(tmp_path / "in" / f"{n}.png", (4 + n, 4), n)
    upscaler = Upscaler(IdentityEngine())
    owner = upscaler if stage == "enlargement" else stages.images
    right = getattr(owner, stage)
    calls = []

    def wrong(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return right(*arguments, **options)

    monkeypatch.setattr(owner, stage, wrong)
    outcomes = run(tmp_path / "in", upscaler)
    assert sorted(kinds(outcomes).values()) == ["Done", "Done", "Failed"]
    (failed,) = (o for o in outcomes.values() if isinstance(o, folders.Failed))
    assert says in failed.reason and "\n" not in failed.reason and len(failed.reason) < 400
    assert failed.tried
    monkeypatch.undo()
    assert sorted(kinds(run(tmp_path / "in")).values()) == ["Done", "Skipped", "Skipped"]
    assert not leftovers(tmp_path)


def test_fail_fast_stops_and_lists_the_rest(tmp_path: Path) -> None:
    for n in range(200):
        picture(tmp_path / "in" / f"{n:03}.png")
    (tmp_path / "in" / "000.png").write_bytes(b"")
    outcomes = run(tmp_path / "in", fail_fast=True)
    assert len(outcomes) == 200
    failed = [o for o in outcomes.values() if isinstance(o, folders.Failed)]
    assert [o.source.name for o in failed if o.tried] == ["000.png"]
    assert sum(not o.tried for o in failed) > 50


def test_fail_fast_heeds_what_was_rejected(tmp_path: Path) -> None:
    job = job_list.Job(picture(tmp_path / "a.png"), tmp_path / "out" / "a.png")
    listed = job_list.JobList(
        jobs=[job], rejected=[job_list.Rejected(Path("x.png"), "it is a pipe")]
    )
    options = folders.Options(fail_fast=True)
    found = list(folders.run_list(listed, Upscaler(IdentityEngine()), options))
    assert [(o.source.name, o.tried) for o in found] == [("x.png", True), ("a.png", False)]
    assert not (tmp_path / "out").exists()


def test_progress_counts_tiles_and_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", (40, 40))
    picture(tmp_path / "in" / "b.png")
    seen: list[folders.Progress] = []
    upscaler = Upscaler(IdentityEngine(batch=2), halo=4)
    run(tmp_path / "in", upscaler, progress=seen.append)
    total = upscaler.tiles(40, 40)
    tiles = [now for now in seen if now.source.name == "a.png" and now.tiles]
    assert (tiles[-1].tiles_done, tiles[-1].tiles) == (total, total)
    assert [now.settled for now in seen] == sorted(now.settled for now in seen)
    assert (seen[-1].settled, seen[-1].jobs) == (2, 2)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    (tmp_path / "in-x2").write_text("a file where the folder should be")
    picture(tmp_path / "in" / "a.png")
    engine = IdentityEngine()
    (failed,) = run(tmp_path / "in", Upscaler(engine)).values()
    assert isinstance(failed, folders.Failed) and not failed.tried
    assert "in-x2 cannot be written" in failed.reason and "\n" not in failed.reason
    assert engine.calls == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "in-x2").mkdir(mode=0o500)
    picture(tmp_path / "in" / "a.png")
    (failed,) = run(tmp_path / "in").values()
    assert isinstance(failed, folders.Failed) and "Permission denied" in failed.reason


def test_a_result_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", (4, 4))
    picture(tmp_path / "in" / "b.png", (60, 60))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        outcomes = run(tmp_path / "in")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert kinds(outcomes) == {"a.png": "Done", "b.png": "Failed"}
    assert not leftovers(tmp_path)
    assert kinds(run(tmp_path / "in")) == {"a.png": "Skipped", "b.png": "Done"}


def test_a_full_disk_ends_the_run_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's own word for it, from the device that is always full."""
    for n in range(100):
        picture(tmp_path / "in" / f"{n:03}.png")
    write = stages.write

    def full(picture: object, place: writing.Place, **options: object) -> object:
        if place.target.name >= "003.png":
            with Path("/dev/full").open("wb", buffering=0) as device:
                device.write(b"x")
        return write(picture, place, **options)

    monkeypatch.setattr(stages, "write", full)
    outcomes = run(tmp_path / "in")
    failed = [o for o in outcomes.values() if isinstance(o, folders.Failed)]
    assert len(outcomes) == 100 and len(failed) >= 50
    assert all("no space is left" in o.reason and not o.tried for o in failed)
    monkeypatch.undo()
    assert set(kinds(run(tmp_path / "in")).values()) == {"Done", "Skipped"}
    assert len(results(tmp_path / "in-x2")) == 100


class TestMemory:
    def test_it_stays_flat_over_many_pictures(self, tmp_path: Path) -> None:
        for n in range(120):
            picture(tmp_path / "in" / f"{n}.bmp", (100, 100), n)
        peaks = []

        class Watching(IdentityEngine):
            def run(self, batch: Array) -> Array:
                peaks.append(tracemalloc.get_traced_memory()[0])
                return super().run(batch)

        each = 100 * 100 * 3 * 5
        upscaler = Upscaler(Watching((100, 100), batch=4))
        gc.collect()
        tracemalloc.start()
        try:
            run(tmp_path / "in", upscaler, memory=6 * each)
        finally:
            tracemalloc.stop()
        batch = 4 * 100 * 100 * 3 * 4 * 5  # floats, in and out
        assert max(peaks) < 6 * each + 4 * batch
        assert max(peaks[-20:]) < 1.5 * max(peaks[5:25])

    def test_a_picture_beyond_the_budget_goes_alone(self, tmp_path: Path) -> None:
        for n in range(6):
            picture(tmp_path / "in" / f"{n}.png", (40, 40), n)
        upscaler = Upscaler(IdentityEngine(batch=3))
        outcomes = run(tmp_path / "in", upscaler, memory=1)
        assert set(kinds(outcomes).values()) == {"Done"}

    def test_a_slow_encoder_holds_the_decoders_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(12):
            picture(tmp_path / "in" / f"{n}.png", (40, 40), n)
        each = 40 * 40 * 3 * 5
        budgets: list[pipeline.Budget] = []
        write = stages.write

        class Seen(pipeline.Budget):
            def __init__(self, memory: int, pictures: int) -> None:
                super().__init__(memory, pictures)
                budgets.append(self)

        def slow(*arguments: object, **options: object) -> object:
            time.sleep(0.02)
            return write(*arguments, **options)

        monkeypatch.setattr(pipeline, "Budget", Seen)
        monkeypatch.setattr(stages, "write", slow)
        run(tmp_path / "in", memory=4 * each)
        assert 0 < budgets[0].peak <= 4 * each


@pytest.mark.parametrize(
    "wrong", [{"quality": 0}, {"quality": 101}, {"memory": 0}, {"max_pixels": 0}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        folders.Options(**wrong)
