"""What other programs and people do to results is kept; what is only half a file is not."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import IdentityEngine
from folder_runs import kinds, leftovers, picture, results, run

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.engines.base import Array
from hat_deploy.errors import UsageError
from hat_deploy.files import alone
from hat_deploy.folders import claims, folder_lock, stages, writing
from hat_deploy.folders.journal import NAME

SUFFIXES = ("png", "jpg", "webp", "tif", "bmp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return picture(tmp_path / "in" / "a.png", (12, 9)).parent


class Meddling(Upscaler):
    """While it computes, another program does something to the folder of results."""

    def __init__(self, action: object) -> None:
        class Engine(IdentityEngine):
            def run(self, batch: Array) -> Array:
                action()
                return super().run(batch)

        super().__init__(Engine())


class TestMeanwhile:
    @pytest.mark.parametrize("links", [True, False])
    def test_a_file_that_appears_while_an_image_is_computed_stays(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        if not links:
            monkeypatch.setattr(writing.os, "link", no_links)
        target = folder.with_name("in-x2") / "a.png"
        upscaler = Meddling(lambda: target.write_bytes(b"somebody else's"))
        (kept,) = run(folder, upscaler).values()
        assert isinstance(kept, folders.Skipped) and "another program wrote it" in kept.reason
        assert target.read_bytes() == b"somebody else's"
        assert not leftovers(folder.parent)
        (again,) = run(folder).values()
        assert "the journal does not know it" in again.reason
        assert kinds(run(folder, upscaler, overwrite=True)) == {"a.png": "Done"}

    @pytest.mark.parametrize("links", [True, False])
    def test_a_file_that_appears_at_the_last_moment_stays(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        if not links:
            monkeypatch.setattr(writing.os, "link", no_links)
        target = folder.with_name("in-x2") / "a.png"
        put = writing.Place.put

        def late(self: writing.Place, path: Path) -> None:
            target.write_bytes(b"somebody else's")
            put(self, path)

        monkeypatch.setattr(writing.Place, "put", late)
        assert kinds(run(folder)) == {"a.png": "Skipped"}
        assert target.read_bytes() == b"somebody else's"
        assert not leftovers(folder.parent)

    def test_a_result_that_is_retouched_while_it_is_redone_stays(self, folder: Path) -> None:
        run(folder)
        target = folder.with_name("in-x2") / "a.png"
        upscaler = Meddling(lambda: picture(target, (24, 18), seed=5))
        upscaler.settings = {**upscaler.settings, "model": "another"}
        (kept,) = run(folder, upscaler).values()
        assert isinstance(kept, folders.Skipped) and "another program wrote it" in kept.reason
        painted = target.read_bytes()
        (again,) = run(folder).values()
        assert "changed after it was made" in again.reason and target.read_bytes() == painted

    def test_without_links_results_get_their_names_all_the_same(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(folder)
        right = results(folder.with_name("in-x2"))
        folder.with_name("in-x2").rename(folder.with_name("before"))
        monkeypatch.setattr(writing.os, "link", no_links)
        assert kinds(run(folder)) == {"a.png": "Done"}
        assert results(folder.with_name("in-x2")) == right
        assert kinds(run(folder)) == {"a.png": "Skipped"}


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


class TestChangedResults:
    @pytest.fixture
    def painted(self, folder: Path) -> Path:
        """A result that its owner worked on."""
        run(folder)
        target = folder.with_name("in-x2") / "a.png"
        pixels = cv2.imread(str(target))
        pixels[4:8] = (0, 0, 255)
        assert cv2.imwrite(str(target), pixels)
        return target

    def test_a_retouched_result_is_kept_and_told(self, folder: Path, painted: Path) -> None:
        before = painted.read_bytes()
        other = Upscaler(IdentityEngine((20, 20)))
        for upscaler in (None, other):
            (kept,) = run(folder, upscaler).values()
            assert isinstance(kept, folders.Skipped)
            assert kept.reason == "it was changed after it was made: --overwrite redoes it"
        picture(folder / "a.png", (12, 9), seed=3)  # and another source under the same name
        assert kinds(run(folder)) == {"a.png": "Skipped"}
        assert painted.read_bytes() == before

    def test_overwrite_redoes_it(self, folder: Path, painted: Path) -> None:
        assert kinds(run(folder, overwrite=True)) == {"a.png": "Done"}
        assert (results(painted.parent)["a.png"], run(folder)["a.png"].reason)[1] is None

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_half_a_result_is_redone(self, tmp_path: Path, suffix: str) -> None:
        smooth = cv2.resize(
            np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8), (40, 50)
        )
        (tmp_path / "in").mkdir()
        assert cv2.imwrite(str(tmp_path / "in" / f"a.{suffix}"), smooth)
        run(tmp_path / "in")
        target = tmp_path / "in-x2" / f"a.{suffix}"
        whole = target.read_bytes()
        for length in (0, 1, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
            target.write_bytes(whole[:length])
            assert kinds(run(tmp_path / "in")) == {f"a.{suffix}": "Done"}
            assert target.read_bytes() == whole
        if suffix in ("png", "jpg"):
            target.write_bytes(whole[:-200] + bytes(200))
            assert kinds(run(tmp_path / "in")) == {f"a.{suffix}": "Done"}

    def test_what_cannot_be_checked_for_want_of_memory_is_kept(
        self, folder: Path, painted: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def starved(*_: object, **__: object) -> None:
            raise MemoryError

        monkeypatch.setattr(stages.images, "decode_bytes", starved)
        assert kinds(run(folder)) == {"a.png": "Skipped"}

    @pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
    def test_what_is_no_file_any_more_is_kept(self, folder: Path, kind: str) -> None:
        run(folder)
        target = folder.with_name("in-x2") / "a.png"
        target.unlink()
        if kind == "folder":
            target.mkdir()
        elif kind == "pipe":
            os.mkfifo(target)
        else:
            target.symlink_to("nowhere")
        (kept,) = run(folder).values()
        assert isinstance(kept, folders.Skipped) and "--overwrite" in kept.reason

    def test_every_result_is_on_the_disk_before_it_has_a_name(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[int] = []
        fsync, put = os.fsync, writing.Place.put
        monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), fsync(fd)))

        def checked(self: writing.Place, path: Path) -> None:
            assert path.stat().st_ino in synced
            put(self, path)

        monkeypatch.setattr(writing.Place, "put", checked)
        assert kinds(run(folder)) == {"a.png": "Done"}


class TestPermissions:
    def test_a_private_result_stays_private(self, folder: Path) -> None:
        run(folder)
        target = folder.with_name("in-x2") / "a.png"
        umask = os.umask(0)
        os.umask(umask)
        assert target.stat().st_mode & 0o777 == 0o666 & ~umask
        for mode in (0o600, 0o640):
            target.chmod(mode)
            assert kinds(run(folder, overwrite=True)) == {"a.png": "Done"}
            assert target.stat().st_mode & 0o777 == mode
        picture(folder / "a.png", (12, 9), seed=1)
        assert kinds(run(folder)) == {"a.png": "Done"}
        assert target.stat().st_mode & 0o777 == 0o640

    def test_one_file_keeps_its_mode_too(self, tmp_path: Path) -> None:
        source = picture(tmp_path / "a.png")
        target = picture(tmp_path / "b.png")
        target.chmod(0o600)
        Upscaler(IdentityEngine()).upscale_file(source, target)
        assert target.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def _no_hang() -> object:
    """A test that waits for a pipe must fail and not hang."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("_no_hang")
class TestStrangeNodes:
    """Links, pipes and folders where the journal, a lock or a part file would be."""

    def plant(self, path: Path, kind: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        victim = path.parent.parent / "victim"
        victim.write_bytes(b"precious")
        if kind == "link":
            path.symlink_to(victim)
        elif kind == "dangling":
            path.symlink_to(path.parent.parent / "made")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
        return victim

    @pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "device"])
    def test_as_a_journal_they_are_refused(self, folder: Path, kind: str) -> None:
        output = folder.with_name("in-x2")
        victim = self.plant(output / NAME, kind)
        for recursive in range(2):
            (failed,) = run(folder, overwrite=bool(recursive)).values()
            assert isinstance(failed, folders.Failed) and not failed.tried
            assert "not a plain file: remove it" in failed.reason
        assert victim.read_bytes() == b"precious"
        assert not (folder.parent / "made").exists()

    @pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "device"])
    def test_as_a_lock_they_are_refused(
        self, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(claims.fcntl, "lockf", refuse)
        victim = self.plant(folder.with_name("in-x2") / folder_lock.NAME, kind)
        (failed,) = run(folder).values()
        assert isinstance(failed, folders.Failed) and "not a plain file: remove it" in failed.reason
        assert victim.read_bytes() == b"precious"

    @pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "device"])
    def test_as_a_lock_of_the_cache_they_are_refused(self, tmp_path: Path, kind: str) -> None:
        lock = tmp_path / "cache" / ".x.lock"
        victim = self.plant(lock, kind)
        with pytest.raises(UsageError, match="not a plain file"), alone(lock):
            pass
        assert victim.read_bytes() == b"precious"

    @pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
    def test_as_a_part_file_they_are_passed_over(self, folder: Path, kind: str) -> None:
        part = folder.with_name("in-x2") / ".hat-deploy-0123456789ab.part"
        victim = self.plant(part, kind)
        assert kinds(run(folder)) == {"a.png": "Done"}
        assert victim.read_bytes() == b"precious"
        assert part.is_symlink() or kind == "folder" or part.exists()
