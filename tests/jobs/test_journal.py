"""What is done again, what is not, and why."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from fakes import IdentityEngine
from folders import kinds, picture, results, run

from hat_deploy import jobs, sources
from hat_deploy.jobs import journal
from hat_deploy.jobs.journal import NAME, Journal
from hat_deploy.upscaler import Upscaler


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
    assert isinstance(first, jobs.Done)
    made = results(out)
    (second,) = upscaler.upscale_folder(tmp_path / "two", out)
    assert isinstance(second, jobs.Skipped) and "one/a.png" in second.reason
    assert results(out) == made
    shutil.copy(tmp_path / "one" / "a.png", tmp_path / "two" / "a.png")
    (same,) = upscaler.upscale_folder(tmp_path / "two", out)
    assert isinstance(same, jobs.Skipped) and same.reason is None


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
    plan = sources.plan([source], scale=2, output=None, recursive=False)
    upscaler = Upscaler(IdentityEngine())
    assert isinstance(next(jobs.run(plan.jobs, upscaler)), jobs.Done)
    assert isinstance(next(jobs.run(plan.jobs, upscaler)), jobs.Skipped)
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
