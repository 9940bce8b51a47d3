"""Which files a run reads and where results go, on real folders."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hat_deploy.errors import UsageError
from hat_deploy.files import make_folder
from hat_deploy.folders.inputs import Passed
from hat_deploy.folders.job_list import JobList, list_jobs
from hat_deploy.folders.journal import Journal
from hat_deploy.folders.journal_index import Entry
from hat_deploy.images.picture import SUFFIXES
from hat_deploy.terminal.printable import display_name


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def pairs(result: JobList, folder: Path) -> list[tuple[str, str]]:
    """Jobs as (source, target) relative to ``folder``, in order."""
    return [
        (os.path.relpath(job.source, folder), os.path.relpath(job.target, folder))
        for job in result.jobs
    ]


def run(
    *paths: Path, output: Path | None = None, recursive: bool = False, **options: str
) -> JobList:
    return list_jobs(paths, mark="-x2", output=output, recursive=recursive, **options)


def reasons(result: JobList) -> dict[str, str]:
    return {item.source.name: item.reason for item in result.rejected}


def test_a_file_gets_its_result_beside_it(tmp_path: Path) -> None:
    make(tmp_path, "cat.png")
    assert pairs(run(tmp_path / "cat.png"), tmp_path) == [("cat.png", "cat-x2.png")]


def test_a_folder_gets_a_folder_beside_it_with_the_same_tree(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.png", "photos/sub/deep/b.JPG")
    assert pairs(run(tmp_path / "photos", recursive=True), tmp_path) == [
        ("photos/a.png", "photos-x2/a.png"),
        ("photos/sub/deep/b.JPG", "photos-x2/sub/deep/b.JPG"),
    ]


def test_folders_inside_folders_need_recursive(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.png", "photos/sub/b.png")
    result = run(tmp_path / "photos")
    assert pairs(result, tmp_path) == [("photos/a.png", "photos-x2/a.png")]
    assert result.rejected == []


def test_the_current_folder_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "photos/a.png")
    monkeypatch.chdir(tmp_path / "photos")
    (job,) = run(Path()).jobs
    assert job.target == tmp_path / "photos-x2" / "a.png"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_counts_in_any_case(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, f"photos/a{suffix}", f"photos/b{suffix.upper()}")
    assert len(run(tmp_path / "photos").jobs) == 2


def test_output_folder_for_files_and_one_folder(tmp_path: Path) -> None:
    make(tmp_path, "cat.png", "photos/a.png", "photos/sub/b.png")
    out = tmp_path / "out"
    assert pairs(run(tmp_path / "cat.png", output=out), tmp_path) == [("cat.png", "out/cat.png")]
    assert pairs(run(tmp_path / "photos", output=out, recursive=True), tmp_path) == [
        ("photos/a.png", "out/a.png"),
        ("photos/sub/b.png", "out/sub/b.png"),
    ]


def test_several_paths_keep_each_folders_name(tmp_path: Path) -> None:
    make(tmp_path, "one/a.png", "two/a.png", "a.png")
    result = run(tmp_path / "one", tmp_path / "two", tmp_path / "a.png", output=tmp_path / "out")
    assert pairs(result, tmp_path) == [
        ("one/a.png", "out/one/a.png"),
        ("two/a.png", "out/two/a.png"),
        ("a.png", "out/a.png"),
    ]


def test_foreign_and_hidden_names_inside_folders_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "p/notes.txt", "p/noext", "p/.b.png", "p/.git/c.png", "p/.png")
    result = run(tmp_path / "p", recursive=True)
    assert pairs(result, tmp_path) == [("p/a.png", "p-x2/a.png")]
    assert result.rejected == []


def test_a_named_foreign_file_is_rejected_and_a_named_hidden_one_is_taken(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", ".cat.png", ".hidden/a.png")
    result = run(tmp_path / "notes.txt", tmp_path / ".cat.png", tmp_path / ".hidden")
    assert pairs(result, tmp_path) == [
        (".cat.png", ".cat-x2.png"),
        (".hidden/a.png", ".hidden-x2/a.png"),
    ]
    assert ".png" in reasons(result)["notes.txt"]


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    with pytest.raises(UsageError, match=r"no\\nsuch\.png does not exist"):
        run(tmp_path / "a.png", tmp_path / "no\nsuch.png")


def test_what_only_looks_like_a_picture_is_listed(tmp_path: Path) -> None:
    make(tmp_path, "p/good.png", "p/folder.png/inside.png")
    (tmp_path / "p/dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "p/self.png").symlink_to(tmp_path / "p/self.png")
    os.mkfifo(tmp_path / "p/pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "p/socket.png"))
        result = run(tmp_path / "p", recursive=True)
    assert pairs(result, tmp_path) == [("p/good.png", "p-x2/good.png")]
    found = reasons(result)
    assert "does not exist" in found.pop("dangling.png")
    assert "symbolic links" in found.pop("self.png")
    assert found == {
        "folder.png": "it is a folder, not an image",
        "pipe.png": "it is a named pipe, not an image",
        "socket.png": "it is a socket, not an image",
    }


def test_named_pipes_and_devices_are_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    result = run(tmp_path / "pipe.png", Path("/dev/null"))
    assert [item.reason for item in result.rejected] == [
        "it is a named pipe, not an image",
        "it is a device, not an image",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_folders_and_files_are_listed(tmp_path: Path) -> None:
    make(tmp_path, "p/locked/a.png", "p/b.png", "p/c.png")
    (tmp_path / "p/locked").chmod(0)
    (tmp_path / "p/b.png").chmod(0)
    try:
        result = run(tmp_path / "p", recursive=True)
    finally:
        (tmp_path / "p/locked").chmod(0o700)
    assert pairs(result, tmp_path) == [("p/c.png", "p-x2/c.png")]
    assert set(reasons(result)) == {"locked", "b.png"}


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "p/sub/b.png", "elsewhere/c.png")
    (tmp_path / "p/sub/up").symlink_to(tmp_path / "p")
    (tmp_path / "p/album").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "p/album")
    assert pairs(run(tmp_path / "p", recursive=True), tmp_path) == [
        ("p/a.png", "p-x2/a.png"),
        ("p/sub/b.png", "p-x2/sub/b.png"),
        ("p/album/c.png", "p-x2/album/c.png"),
    ]


def test_a_folder_is_met_under_its_own_name_before_its_links(tmp_path: Path) -> None:
    make(tmp_path, "p/real/a.png")
    (tmp_path / "p/alias").symlink_to(tmp_path / "p/real")
    assert pairs(run(tmp_path / "p", recursive=True), tmp_path) == [
        ("p/real/a.png", "p-x2/real/a.png")
    ]


@pytest.fixture
def removable() -> Iterator[Path]:
    """A folder for what is too deep for pytest's own cleaning up."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    subprocess.run(["rm", "-r", folder], check=True)


def test_folders_of_any_depth_are_entered(removable: Path) -> None:
    depth = 1_200
    deep = removable / "p" / "/".join(["d"] * depth)
    make_folder(deep)
    (deep / "a.png").touch()
    (job,) = run(removable / "p", recursive=True).jobs
    assert job.source == deep / "a.png"
    assert len(job.target.parts) == len(job.source.parts)
    make_folder(job.target.parent)
    make_folder(job.target.parent)
    assert job.target.parent.is_dir()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        make_folder(Path("/proc/none/deeper"))


def test_a_link_to_a_picture_is_a_picture_of_its_own(tmp_path: Path) -> None:
    make(tmp_path, "p/2024.png")
    (tmp_path / "p/latest.png").symlink_to("2024.png")
    assert [source for source, _ in pairs(run(tmp_path / "p"), tmp_path)] == [
        "p/2024.png",
        "p/latest.png",
    ]


def test_an_output_folder_inside_the_input_is_not_read(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "p/out/a.png", "p/out/sub/b.png")
    result = run(tmp_path / "p", output=tmp_path / "p" / "out", recursive=True)
    assert pairs(result, tmp_path) == [("p/a.png", "p/out/a.png")]


def test_an_earlier_default_output_inside_an_input_is_not_read(tmp_path: Path) -> None:
    make(tmp_path, "all/p/a.png", "all/p-x2/a.png")
    for output in (None, tmp_path / "out"):
        result = run(tmp_path / "all", tmp_path / "all/p", output=output, recursive=True)
        assert [source for source, _ in pairs(result, tmp_path)] == ["all/p/a.png"]


def test_a_folder_named_like_a_picture_may_hold_results(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "p/out.png/a.png")
    result = run(tmp_path / "p", output=tmp_path / "p/out.png", recursive=True)
    assert result.rejected == []


def test_no_result_ever_overwrites_an_input(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "q/b.png")
    os.link(tmp_path / "p/a.png", tmp_path / "q/a.png")
    (tmp_path / "alias").symlink_to(tmp_path / "p")
    for output in (tmp_path / "p", tmp_path / "alias", tmp_path / "q"):
        result = run(tmp_path / "p", output=output)
        assert result.jobs == []
        assert "overwrite the input" in reasons(result)["a.png"]


def test_a_result_that_is_another_input_is_rejected(tmp_path: Path) -> None:
    make(tmp_path, "cat.png", "out/cat.png", "out/dog.png")
    out = tmp_path / "out"
    result = run(tmp_path / "cat.png", out / "cat.png", out / "dog.png", output=out)
    assert result.jobs == []
    assert [item.source.name for item in result.rejected] == ["cat.png", "cat.png", "dog.png"]
    assert str(out / "cat.png") in result.rejected[0].reason


@pytest.mark.parametrize("output", [None, "out"])
def test_a_glob_run_again_does_not_take_its_results_as_inputs(
    tmp_path: Path, output: str | None
) -> None:
    names = ["cat-x2-x2.png", "cat-x2.png", "cat-x3.png", "cat.png", "dog-x2.png"]
    make(tmp_path, *names)
    folder = tmp_path / output if output else None
    for order in (names, names[::-1]):
        result = run(*(tmp_path / name for name in order), output=folder)
        assert {job.source.name for job in result.jobs} == {"cat-x3.png", "cat.png", "dog-x2.png"}
        assert result.rejected == []


def test_a_glob_run_again_knows_its_results_in_another_format(tmp_path: Path) -> None:
    names = ["cat.jpg", "cat.png"]
    make(tmp_path, *names)
    first = run(*(tmp_path / name for name in names), format="webp")
    made = [os.path.relpath(job.target, tmp_path) for job in first.jobs]
    assert made == ["cat-x2-jpg.webp", "cat-x2-png.webp"]
    make(tmp_path, *made, "cat-x2.png")
    again = run(*(tmp_path / name for name in [*made, "cat-x2.png", *names]), format="webp")
    assert again == first


def test_a_result_is_known_by_whatever_path_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "p/cat.png", "p/cat-x2.png")
    monkeypatch.chdir(tmp_path)
    for paths in (
        [Path("p/../p/cat.png"), tmp_path / "p/cat-x2.png"],
        [Path("p/cat.png"), Path("p")],
    ):
        (job,) = run(*paths).jobs
        assert job.source.name == "cat.png"


def test_only_a_named_picture_has_results(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", "notes-x2.webp", "cat-x2.webp", "album.png/a.webp", "album-x2.png")
    result = run(*sorted(tmp_path.iterdir()), format="webp")
    found = [source for source, _ in pairs(result, tmp_path)]
    assert found == ["album-x2.png", "album.png/a.webp", "cat-x2.webp", "notes-x2.webp"]


def test_a_link_named_like_a_result_is_no_result(tmp_path: Path) -> None:
    make(tmp_path, "cat.png", "dog.png")
    (tmp_path / "cat-x2.png").symlink_to("dog.png")
    paths = [tmp_path / name for name in ("cat.png", "cat-x2.png", "dog.png")]
    result = run(*paths)
    assert [source for source, _ in pairs(result, tmp_path)] == ["cat-x2.png", "dog.png"]
    assert "overwrite the input" in reasons(result)["cat.png"]


def test_a_forced_format_changes_the_suffix_and_keeps_clashing_names_apart(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "p/a.jpg", "p/b.c.tif")
    assert pairs(run(tmp_path / "p", format="webp"), tmp_path) == [
        ("p/a.jpg", "p-x2/a-jpg.webp"),
        ("p/a.png", "p-x2/a-png.webp"),
        ("p/b.c.tif", "p-x2/b.c.webp"),
    ]


def test_a_clash_that_suffixes_cannot_settle_rejects_the_later(tmp_path: Path) -> None:
    make(tmp_path, "one/a.png", "two/a.png")
    result = run(tmp_path / "one/a.png", tmp_path / "two/a.png", output=tmp_path / "out")
    assert pairs(result, tmp_path) == [("one/a.png", "out/a.png")]
    (rejected,) = result.rejected
    assert rejected.source == tmp_path / "two/a.png"
    assert str(tmp_path / "one/a.png") in rejected.reason


def test_an_added_suffix_may_clash_with_a_third_name(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "p/a.jpg", "p/a-png.bmp")
    result = run(tmp_path / "p", format="webp")
    targets = [target for _, target in pairs(result, tmp_path)]
    assert len(set(targets)) == len(targets) == 2
    assert len(result.rejected) == 1


def test_an_unknown_format_is_a_usage_error(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    with pytest.raises(UsageError, match=r"jxl.*webp"):
        run(tmp_path / "a.png", format="jxl")


def test_the_same_source_named_twice_is_done_once(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "p/sub/b.png")
    os.mkfifo(tmp_path / "p/pipe.png")
    (tmp_path / "alias").symlink_to(tmp_path / "p")
    result = run(
        tmp_path / "p",
        tmp_path / "p/a.png",
        tmp_path / "p/sub/../a.png",
        tmp_path / "alias/a.png",
        tmp_path / "p",
    )
    assert pairs(result, tmp_path) == [("p/a.png", "p-x2/a.png")]
    assert len(result.rejected) == 1


def test_order_is_natural(tmp_path: Path) -> None:
    names = ["1.png", "2.png", "010.png", "10.png", "a1.png", "A2.png", "a10.png", "b.png"]
    make(tmp_path, *(f"p/{name}" for name in reversed(names)))
    assert [job.source.name for job in run(tmp_path / "p").jobs] == names


def test_odd_names_work(tmp_path: Path) -> None:
    odd = ["with space.png", "new\nline.png", "-o.png", os.fsdecode(b"caf\xe9\xff.png"), "ünï.png"]
    make(tmp_path, *(f"p/{name}" for name in odd))
    result = run(tmp_path / "p")
    assert {job.target.name for job in result.jobs} == set(odd)
    assert all(job.source.exists() for job in result.jobs)


def test_display_name_is_one_printable_line() -> None:
    assert display_name(Path("plain name ü.png")) == "plain name ü.png"
    assert display_name("a\nb\tc\x1b[31m.png") == r"a\nb\tc\x1b[31m.png"
    assert display_name(os.fsdecode(b"caf\xe9.png")) == r"caf\xe9.png"
    assert display_name("\u202egnp.exe") == r"\u202egnp.exe"
    for name in (os.fsdecode(bytes(range(1, 256))), "\ud800", "\U000e0001"):
        shown = display_name(name)
        assert shown.isprintable()
        assert shown.encode()


def test_with_overwrite_a_named_input_is_never_a_result(tmp_path: Path) -> None:
    for name in ("cat.png", "cat-x2.png"):
        (tmp_path / name).write_bytes(b"x")
    named = [tmp_path / "cat.png", tmp_path / "cat-x2.png"]
    careful = list_jobs(named, mark="-x2", output=None, recursive=False, overwrite=True)
    assert [job.source.name for job in careful.jobs] == ["cat-x2.png"]
    assert [rejected.source.name for rejected in careful.rejected] == ["cat.png"]


def named(folder: Path, name: str) -> Path:
    make(folder, name)
    return folder / name


class TestOneFile:
    """``-o large.png``."""

    def test_the_result_of_one_image_gets_the_name(self, tmp_path: Path) -> None:
        source = named(tmp_path, "a.jpg")
        (job,) = run(source, output=tmp_path / "new" / "large.png").jobs
        assert (job.source, job.target) == (source, tmp_path / "new" / "large.png")
        assert job.root == tmp_path / "new"

    def test_a_folder_of_that_name_is_a_folder(self, tmp_path: Path) -> None:
        source, folder = named(tmp_path, "a.jpg"), tmp_path / "large.png"
        folder.mkdir()
        (job,) = run(source, output=folder).jobs
        assert job.target == folder / "a.jpg"

    def test_it_takes_one_image(self, tmp_path: Path) -> None:
        source = named(tmp_path, "in/a.jpg")
        for paths in ([source, source], [tmp_path / "in"]):
            with pytest.raises(UsageError, match="names one image's file"):
                run(*paths, output=tmp_path / "large.png")

    def test_its_source_is_not_overwritten(self, tmp_path: Path) -> None:
        source = named(tmp_path, "a.jpg")
        (rejected,) = run(source, output=source).rejected
        assert "would overwrite" in rejected.reason

    def test_two_formats_are_refused(self, tmp_path: Path) -> None:
        source = named(tmp_path, "a.jpg")
        with pytest.raises(UsageError, match="two formats"):
            run(source, output=tmp_path / "large.png", format="webp")


class TestResultsOfEarlierRuns:
    """They are not taken for sources, and what is passed over is counted."""

    @staticmethod
    def done(folder: Path, *names: str, source: str = "../in/a.png") -> None:
        make(folder, *names)
        with closing(Journal(folder)) as journal:
            for name in names:
                journal.append(
                    Entry(
                        output=name,
                        output_size=0,
                        output_sha256="0" * 64,
                        source=source,
                        source_size=0,
                        source_mtime_ns=0,
                        source_sha256="0" * 64,
                        settings={},
                    )
                )

    def test_a_result_beside_its_source(self, tmp_path: Path) -> None:
        make(tmp_path, "cat.png", "dog-x2.png")
        self.done(tmp_path, "cat-x2.png", source="cat.png")
        self.done(tmp_path, "mouse.png")
        found = run(tmp_path)
        assert [job.source.name for job in found.jobs] == ["cat.png", "dog-x2.png", "mouse.png"]
        assert found.passed[Passed.RESULT] == 1

    def test_a_folder_of_results_inside(self, tmp_path: Path) -> None:
        make(tmp_path, "in/a.png", "in/sub/late.png")
        self.done(tmp_path / "in" / "sub", "a.png", "deep/b.png")
        found = run(tmp_path / "in", recursive=True)
        assert [job.source.name for job in found.jobs] == ["a.png", "late.png"]
        assert found.passed[Passed.RESULT] == 2

    def test_a_folder_of_results_that_is_named_is_read(self, tmp_path: Path) -> None:
        self.done(tmp_path / "photos-x2", "a.png", "sub/b.png")
        found = run(tmp_path / "photos-x2", recursive=True)
        assert [job.source.name for job in found.jobs] == ["a.png", "b.png"]

    def test_what_else_is_passed_over(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png", "notes.txt", "raw.cr3", ".hidden.png", "sub/b.png")
        assert +run(tmp_path).passed == {Passed.FOREIGN: 2, Passed.HIDDEN: 1, Passed.FOLDER: 1}
