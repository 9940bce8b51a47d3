"""What is done again, what is not, and why."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import IdentityEngine
from folder_runs import kinds, leftovers, picture, results, run

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.folders import job_list, journal
from hat_deploy.folders.journal import NAME, Journal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(3):
        picture(tmp_path / "in" / f"{n}.png", seed=n)
    return tmp_path / "in"


@pytest.fixture
def output(folder: Path) -> Path:
    """Where results of ``folder`` lie, made once."""
    assert set(kinds(run(folder)).values()) == {"Done"}
    return folder.with_name("in-x2")


def again(folder: Path, **options: object) -> str:
    """What a second run does with 0, 1 and 2: D, S or F."""
    return "".join(kind[0] for kind in kinds(run(folder, **options)).values())


def test_nothing_is_done_twice(folder: Path, output: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in output.glob("*.png")}
    outcomes = run(folder)
    assert [outcome.reason for outcome in outcomes.values()] == [None] * 3
    assert {p: p.stat().st_mtime_ns for p in output.glob("*.png")} == before


def test_a_damaged_result_is_redone(folder: Path, output: Path) -> None:
    good = results(output)
    (output / "0.png").write_bytes((output / "0.png").read_bytes()[:-10])
    data = bytearray((output / "1.png").read_bytes())
    data[len(data) // 2] ^= 1
    (output / "1.png").write_bytes(data)
    assert again(folder) == "DDS"
    assert results(output) == good


def test_a_missing_result_is_redone(folder: Path, output: Path) -> None:
    (output / "1.png").unlink()
    assert again(folder) == "SDS"


def test_a_changed_input_is_redone(folder: Path, output: Path) -> None:
    picture(folder / "1.png", seed=9)
    assert again(folder) == "SDS"
    assert again(folder) == "SSS"


def test_an_input_that_was_only_touched_is_not(folder: Path, output: Path) -> None:
    os.utime(folder / "1.png", (1, 1))
    assert again(folder) == "SSS"


def test_another_model_halo_or_tile_redoes_everything(folder: Path, output: Path) -> None:
    class Other(IdentityEngine):
        name = "another"

    for upscaler in (
        Upscaler(Other()),
        Upscaler(Other(), halo=2),
        Upscaler(IdentityEngine((20, 20))),
    ):
        outcomes = run(folder, upscaler)
        assert set(kinds(outcomes).values()) == {"Done"}
        assert set(kinds(run(folder, upscaler)).values()) == {"Skipped"}


def test_another_quality_redoes_only_what_has_one(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.jpg")
    run(tmp_path / "in")
    assert kinds(run(tmp_path / "in", quality=60)) == {"a.png": "Skipped", "b.jpg": "Done"}


def test_overwrite_redoes_what_is_there(folder: Path, output: Path) -> None:
    assert again(folder, overwrite=True) == "DDD"


def test_a_result_that_the_journal_does_not_know_is_left_alone(folder: Path, output: Path) -> None:
    (output / NAME).unlink()
    (output / "1.png").write_bytes(b"mine")
    outcomes = run(folder)
    assert all("the journal does not know it" in o.reason for o in outcomes.values())
    assert (output / "1.png").read_bytes() == b"mine"
    assert again(folder, overwrite=True) == "DDD"
    assert again(folder) == "SSS"


def test_the_result_of_another_input_is_left_alone(tmp_path: Path) -> None:
    upscaler = Upscaler(IdentityEngine())
    for number, name in enumerate(("one", "two")):
        picture(tmp_path / name / "a.png", seed=number)
    out = tmp_path / "out"
    (first,) = upscaler.upscale_folder(tmp_path / "one", out)
    assert isinstance(first, folders.Done)
    made = results(out)
    (second,) = upscaler.upscale_folder(tmp_path / "two", out)
    assert isinstance(second, folders.Skipped) and "one/a.png" in second.reason
    assert results(out) == made
    shutil.copy(tmp_path / "one" / "a.png", tmp_path / "two" / "a.png")
    (same,) = upscaler.upscale_folder(tmp_path / "two", out)
    assert isinstance(same, folders.Skipped) and same.reason is None


def test_moved_together_they_are_still_known(folder: Path, output: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for moved in (folder, output):
        moved.rename(tmp_path / "elsewhere" / moved.name)
    assert again(tmp_path / "elsewhere" / "in") == "SSS"


def test_odd_names_are_known_again(tmp_path: Path) -> None:
    for name in (b"caf\xe9\xff.png", b"new\nline.png", "ü ñ.png".encode()):
        shutil.copy(picture(tmp_path / "x.png"), tmp_path / "x2.png")
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "x2.png").rename(tmp_path / "in" / os.fsdecode(name))
    assert set(kinds(run(tmp_path / "in")).values()) == {"Done"}
    assert set(kinds(run(tmp_path / "in")).values()) == {"Skipped"}


@pytest.mark.parametrize("torn", [1, 20, 100])
def test_a_torn_last_line_costs_one_picture(folder: Path, output: Path, torn: int) -> None:
    path = output / NAME
    path.write_bytes(path.read_bytes()[:-torn])
    good = results(output)
    lines = path.read_bytes().count(b"\n")
    skipped = kinds(run(folder))
    assert list(skipped.values()).count("Skipped") == 3  # one of them unknown, and said
    (output / "new").mkdir()
    picture(folder / "new.png")
    assert kinds(run(folder))["new.png"] == "Done"
    assert kinds(run(folder))["new.png"] == "Skipped"  # its line did not melt into the torn one
    assert path.read_bytes().count(b"\n") > lines
    assert {name: results(output)[name] for name in good} == good


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 4096, b"[]\n{}\nnull\n", b'{"output":1}\n', b"\xff\xfe\n", b"\n\n"]
)
def test_a_damaged_journal_is_an_empty_one(folder: Path, output: Path, content: bytes) -> None:
    (output / NAME).write_bytes(content)
    assert again(folder) == "SSS"
    assert again(folder, overwrite=True) == "DDD"
    assert run(folder)["0.png"].reason is None


WHOLE = {
    "output": "0.png",
    "output_size": 1,
    "output_sha256": "0" * 64,
    "source": "../in/0.png",
    "source_size": 1,
    "source_mtime_ns": 1,
    "source_sha256": "0" * 64,
    "settings": {},
}
BAD_LINES = {
    "brackets": b"[" * 100_000,
    "deep settings": json.dumps(WHOLE).replace("{}", "[" * 9_000 + "]" * 9_000).encode(),
    "deep object": b'{"output":' * 20_000,
    "long": b"x" * 3_000_000,
    "long entry": json.dumps({**WHOLE, "source": "x" * 200_000}).encode(),
    **{
        f"{name} {value!r:.20}": json.dumps({**WHOLE, name: value}).encode()
        for name, value in [
            ("output", ["0.png"]),
            ("output", {}),
            ("output", None),
            ("output_size", "1"),
            ("output_size", 1.5),
            ("output_size", True),
            ("output_sha256", 5),
            ("source", 5),
            ("source_mtime_ns", None),
            ("settings", []),
            ("settings", "model"),
        ]
    },
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_passed_over_and_told(folder: Path, output: Path, line: bytes) -> None:
    path = output / NAME
    path.write_bytes(line + b"\n" + path.read_bytes() + line + b"\n")
    notes: list[str] = []
    listed = job_list.list_jobs([folder], mark="-x2", output=None, recursive=True)
    outcomes = list(folders.run(listed.jobs, Upscaler(IdentityEngine()), on_note=notes.append))
    assert [(type(o).__name__, o.reason) for o in outcomes] == [("Skipped", None)] * 3
    assert notes == [f"2 lines of {path} cannot be read as entries: ignored"]
    picture(folder / "new.png")
    assert kinds(run(folder))["new.png"] == "Done"
    assert kinds(run(folder))["new.png"] == "Skipped"


def test_a_sound_line_in_other_words_counts(folder: Path, output: Path) -> None:
    """Spaces, another order, escapes that need not be, fields of a later version."""
    path = output / NAME
    lines = []
    for line in path.read_text().splitlines():
        values = {**dict(reversed(json.loads(line).items())), "later": 1}
        lines.append(json.dumps(values).replace('"0.png"', '"\\u0030.png"'))
    path.write_text("\n".join(lines) + "\n")
    assert again(folder) == "SSS"
    assert run(folder)["0.png"].reason is None


def results_of(path: Path) -> list[bytes]:
    """The lines of a journal that are about results."""
    return [line for line in path.read_bytes().splitlines() if line.startswith(b'{"output"')]


class TestRenewal:
    """A journal of lines that no longer count is written anew when a run begins."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(journal, "SMALL", 10)

    @pytest.fixture
    def long(self, output: Path) -> Path:
        path = output / NAME
        old = path.read_bytes().replace(b'"output_size":', b'"output_size":1')
        path.chmod(0o640)
        path.write_bytes(old * 20 + path.read_bytes() + b'{"torn')
        return path

    def test_it_keeps_the_last_line_of_each_result(self, folder: Path, long: Path) -> None:
        right = sorted(results_of(long)[-3:])
        assert again(folder) == "SSS"
        assert sorted(results_of(long)) == right
        assert long.read_bytes().endswith(b"\n")
        assert long.stat().st_mode & 0o777 == 0o640
        assert again(folder) == "SSS"
        assert not leftovers(folder.parent)

    def test_what_counts_is_left_as_it_is(self, folder: Path, output: Path) -> None:
        path = output / NAME
        path.write_bytes(path.read_bytes() * 2)
        before = path.stat()
        assert again(folder) == "SSS"
        assert path.stat().st_ino == before.st_ino and path.stat().st_size == before.st_size

    def test_other_runs_at_work_are_not_harmed(self, folder: Path, long: Path) -> None:
        journal_ = long.read_bytes()
        first = Journal(long.parent)  # while it is short
        second = None
        try:
            assert long.stat().st_size < len(journal_)
            long.write_bytes(journal_)
            before = long.stat().st_ino
            second = Journal(long.parent)
            assert long.stat().st_ino == before
            entry = first.last("0.png")
            assert entry is not None
            changed = journal.Entry(**{**entry.__dict__, "output_size": 77})
            first.append(changed)
            assert second.last("0.png") == changed
        finally:
            first.close()
            if second is not None:
                second.close()
        Journal(long.parent).close()
        assert long.stat().st_size < len(journal_)
        with journal.JournalReader(long.parent) as reading:
            assert reading.last("0.png") == changed

    def test_many_that_come_at_once_lose_no_line(self, long: Path) -> None:
        forked = multiprocessing.get_context("fork")

        def come(number: int) -> None:
            mine = Journal(long.parent)
            entry = mine.last("0.png")
            assert entry is not None
            mine.append(journal.Entry(**{**entry.__dict__, "output": f"new{number}.png"}))
            mine.close()

        processes = [forked.Process(target=come, args=(number,)) for number in range(10)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 10
        with journal.JournalReader(long.parent) as reading:
            names = [f"{n}.png" for n in range(3)] + [f"new{n}.png" for n in range(10)]
            assert all(reading.last(name) is not None for name in names)
        assert not leftovers(long.parent)

    def test_killed_at_any_step_it_is_one_or_the_other(self, folder: Path, long: Path) -> None:
        forked = multiprocessing.get_context("fork")
        before = long.read_bytes()
        steps = 0
        while True:
            long.write_bytes(before)

            def die(steps: int = steps) -> None:
                left = [steps]

                def watch(event: str, _: object) -> None:
                    if event in ("open", "os.rename", "os.chmod", "os.remove", "os.mkdir"):
                        left[0] -= 1
                        if left[0] < 0:
                            os._exit(9)

                sys.addaudithook(watch)
                Journal(long.parent).close()
                os._exit(0)

            process = forked.Process(target=die)
            process.start()
            process.join()
            with journal.JournalReader(long.parent) as reading:
                assert all(reading.last(f"{n}.png") is not None for n in range(3))
            if process.exitcode == 0:
                break
            steps += 1
        assert steps > 5
        assert again(folder) == "SSS"
        assert not leftovers(folder.parent)

    def test_its_size_is_no_matter_of_memory(self, output: Path) -> None:
        """180,000 lines about three results, in a process of their own."""
        path = output / NAME
        lines = b"".join(line + b"\n" for line in results_of(path))
        with path.open("wb") as file:
            for _ in range(60):
                file.write(lines * 1000)
        program = (
            "import resource, sys; from pathlib import Path\n"
            "from hat_deploy.folders.journal import Journal\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "Journal(Path(sys.argv[1])).close()\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
        )
        command = [sys.executable, "-c", program, str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) < 32 * 1024  # KiB; the file has 90 MiB
        assert sorted(path.read_bytes().splitlines()) == sorted(lines.splitlines())


def test_a_line_holds_what_decides(folder: Path, output: Path) -> None:
    entry = json.loads((output / NAME).read_text().splitlines()[0])
    source = folder / entry["output"]
    assert entry["source"] == os.path.relpath(source, output)
    assert entry["source_size"] == source.stat().st_size
    assert entry["source_mtime_ns"] == source.stat().st_mtime_ns
    assert entry["output_size"] == (output / entry["output"]).stat().st_size
    assert entry["output_sha256"] == results(output)[entry["output"]]
    assert set(entry["settings"]) == {"model", "checkpoint", "tile", "halo", "compute"}


def test_lines_of_other_processes_are_seen(tmp_path: Path, folder: Path, output: Path) -> None:
    ours = Journal(output)
    theirs = Journal(output)
    try:
        entry = ours.last("0.png")
        assert entry is not None and theirs.last("0.png") == entry
        (output / NAME).open("ab").write(b'{"torn')
        changed = journal.Entry(**{**entry.__dict__, "output_size": 1})
        theirs.append(changed)
        assert ours.last("0.png") == changed
    finally:
        ours.close()
        theirs.close()


def test_results_of_named_files_are_known_too(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    listed = job_list.list_jobs([source], mark="-x2", output=None, recursive=False)
    upscaler = Upscaler(IdentityEngine())
    assert isinstance(next(folders.run(listed.jobs, upscaler)), folders.Done)
    assert isinstance(next(folders.run(listed.jobs, upscaler)), folders.Skipped)
    assert (tmp_path / NAME).is_file()


class TestIdentity:
    def test_a_copied_artifact_is_the_same_model(self, tmp_path: Path, tiny_onnx: Path) -> None:
        copy = shutil.copy(tiny_onnx, tmp_path / "copy.onnx")
        assert Upscaler(copy).settings == Upscaler(tiny_onnx).settings

    def test_a_changed_one_is_another(self, tmp_path: Path, tiny_onnx: Path) -> None:
        import onnx

        model = onnx.load(tiny_onnx)
        model.doc_string = "changed"
        onnx.save(model, tmp_path / "other.onnx")
        assert Upscaler(tmp_path / "other.onnx").settings != Upscaler(tiny_onnx).settings
