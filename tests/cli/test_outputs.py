"""What a command writes: never over what it reads, and refused before any work."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import Run

from hat_deploy.artifact import zoo
from hat_deploy.cli import outputs
from hat_deploy.errors import UsageError
from hat_deploy.folders import journal

VERIFY = "verify --engine tiny.onnx --reference tiny.pth photos/a.png --no-whole"
VERIFY_FOLDER = "verify --engine tiny.onnx --reference tiny.pth photos"
EVALUATE = "evaluate --hr photos --engine tiny.onnx"
ATTRIBUTE = "attribute photos/a.png --model tiny.pth --box 8,8,16,16"
BENCH = "bench --engine tiny.onnx --no-reference --no-memory --iterations 1 --seconds 0"
UPSCALE = "upscale photos --engine tiny.onnx"


@pytest.fixture
def folder(here: Path) -> Path:
    """Inputs of every command, each also under a name of every kind of output."""
    for name in ("photos", "low"):
        (here / name).mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        cv2.imwrite(str(here / name / "a.png"), noise)
    return here


def contents(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def alias(source: Path, name: str, kind: str) -> Path:
    """Another name of a file: itself, a symbolic link, a hard link, or a way round."""
    target = source.with_name(name)
    if kind == "symlink":
        target.symlink_to(source.resolve())
    elif kind == "hard link":
        os.link(source, target)
    elif kind == "dots":
        return Path(source.parent.name) / ".." / source.parent.name / source.name
    return target


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
@pytest.mark.parametrize(
    ("command", "option", "source", "name"),
    [
        (VERIFY, "--report", "tiny.onnx", "x.html"),
        (VERIFY, "--report", "tiny.pth", "x.html"),
        (VERIFY, "--report", "photos/a.png", "x.html"),
        (VERIFY_FOLDER, "--report", "photos/a.png", "x.html"),
        (EVALUATE, "--csv", "tiny.onnx", "x.csv"),
        (EVALUATE, "--csv", "photos/a.png", "x.csv"),
        (EVALUATE + " --lr low", "--csv", "low/a.png", "x.csv"),
        (EVALUATE, "--report", "photos/a.png", "x.html"),
        (ATTRIBUTE, "-o", "photos/a.png", "x.png"),
        (ATTRIBUTE, "-o", "tiny.pth", "x.png"),
        (BENCH, "--plot", "tiny.onnx", "x.svg"),
        (BENCH + " --image photos/a.png", "--plot", "photos/a.png", "x.svg"),
        (UPSCALE, "--report", "tiny.onnx", "x.jsonl"),
        (UPSCALE, "--report", "photos/a.png", "x.jsonl"),
        ("export tiny.pth --tile 16", "-o", "tiny.pth", "x.onnx"),
    ],
)  # fmt: skip
def test_an_input_under_another_name(
    command: str, option: str, source: str, name: str, kind: str, folder: Path, run: Run
) -> None:
    path = alias(folder / source, name, kind)
    before = contents(folder)
    assert run(command, option, path).refused(option, "would overwrite", name)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (EVALUATE + " --csv", "photos/a.png"),
        (EVALUATE + " --csv", "photos/../photos/a.png"),
        (EVALUATE + " --csv", "tiny.onnx"),
        (ATTRIBUTE + " -o", "photos/a.png"),
        (UPSCALE + " --report", "tiny.onnx"),
        (UPSCALE + " --report", "photos/a.png"),
        ("upscale photos --report", zoo.find("hat-nano-x2").folder / "config.json"),
        ("upscale . -r --engine tiny.onnx --report", "photos/a.png"),
    ],
)
def test_an_input_itself(command: str, path: str | Path, folder: Path, run: Run) -> None:
    before = contents(folder)
    assert run(command, path).refused("would overwrite", Path(path).name)
    assert contents(folder) == before


def test_a_plan_over_its_onnx(folder: Path, run: Run) -> None:
    (folder / "x.plan").symlink_to("tiny.onnx")
    assert run("export tiny.onnx -o x.plan --gpu sm89").refused("would overwrite tiny.onnx")


def test_two_options_one_file(folder: Path, run: Run) -> None:
    ended = run(EVALUATE + " --csv page.html --report ./page.html")
    assert ended.refused("--csv page.html and --report page.html are one file")
    assert not (folder / "page.html").exists()
    (folder / "b.csv").touch()
    os.link("b.csv", "c.html")
    assert run(EVALUATE + " --csv b.csv --report c.html").refused("are one file")


def test_a_report_in_the_place_of_a_result_or_the_journal(folder: Path, run: Run) -> None:
    (folder / "photos-x2").mkdir()
    for name in ("a.png", journal.NAME):
        assert run(UPSCALE, "--report", Path("photos-x2") / name).refused("a result or its journal")
    assert run(UPSCALE, "--report", "photos-x2/run.jsonl").code == 0


def test_a_file_beside_the_images_is_no_input(folder: Path, run: Run) -> None:
    """Nor is the report of the last run."""
    for _ in range(2):
        ended = run(UPSCALE + " --report photos/run.jsonl")
        assert ended.code == 0, ended.err
    assert json.loads((folder / "photos" / "run.jsonl").read_text())["outcome"] == "skipped"


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("export tiny.pth --tile 16", "-o", "new.onnx"),
        ("export tiny.onnx --gpu sm89", "-o", "new.plan"),
        (VERIFY, "--report", "new.html"),
        (EVALUATE, "--csv", "new.csv"),
        (EVALUATE, "--report", "new.html"),
        (BENCH, "--plot", "new.svg"),
        (ATTRIBUTE, "-o", "new.png"),
        (UPSCALE, "--report", "new.jsonl"),
    ],
)
def test_where_nothing_can_be_written(
    command: str,
    option: str,
    name: str,
    folder: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before any work: nothing is loaded, for nothing that loads can be imported."""
    for module in ("torch", "onnxruntime", "openvino", "hat_deploy.networks.checkpoint"):
        monkeypatch.setitem(sys.modules, module, None)
    (folder / "file").touch()
    (folder / "is-a-folder").mkdir()
    (folder / "is-a-folder" / name).mkdir()
    long = "n" * 300 + name
    for path in (f"/proc/none/{name}", f"file/{name}", f"is-a-folder/{name}", long):
        assert run(command, option, path).refused(option), path
    if option != "--report" or "upscale" not in command:
        (folder / name).symlink_to("/dev/null")
        assert run(command, option, name).refused("is a device or a pipe")
    assert not list(folder.glob(".*.part"))


def test_a_full_disk(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert run("export tiny.pth --tile 16 -o new.onnx").refused("-o new.onnx", "are free there")
    assert not (folder / "new.onnx").exists()


def test_folders_that_are_not_there_are_made_at_the_end_only(folder: Path) -> None:
    outputs.check({"-o": folder / "a" / "b" / "x.onnx"}, [])
    assert not (folder / "a").exists()
    with pytest.raises(UsageError, match="No such file"):
        outputs.check({"--report": folder / "a" / "x.jsonl"}, [], streamed=True)


HOSTILE = os.fsdecode(b"caf\xe9-\x1b[31m\n.png")


class TestNamesThatAreNotUtf8:
    @pytest.fixture(autouse=True)
    def hostile(self, folder: Path) -> None:
        (folder / "photos" / "a.png").rename(folder / "photos" / HOSTILE)
        shutil.copy(folder / "tiny.onnx", folder / os.fsdecode(b"tiny-\xff.onnx"))

    @pytest.mark.slow
    def test_verify(self, folder: Path, run: Run) -> None:
        engine = os.fsdecode(b"tiny-\xff.onnx")
        command = "verify --reference tiny.pth --no-whole photos --report page.html"
        ended = run(command, "--engine", engine)
        assert ended.code == 0, ended.err
        page = (folder / "page.html").read_text("utf-8")
        assert r"caf\xe9-\x1b[31m\n.png" in page
        assert r"verify: tiny-\xff.onnx" in page
        assert r"tiny-\xff.onnx: " in ended.out
        told = run(command, "--engine", engine, "--json")
        values = json.loads(told.out)
        assert values["artifact"]["path"] == r"tiny-\xff.onnx"
        json.dumps(values, ensure_ascii=False).encode()

    def test_evaluate(self, folder: Path, run: Run) -> None:
        command = "evaluate --hr photos --engine tiny.onnx --csv t.csv --report page.html"
        (folder / "photos" / os.fsdecode(b"bad\xff.png")).write_bytes(b"")
        ended = run(command)
        assert ended.code == 3, ended.err
        assert r"not scored: photos/bad\xff.png" in ended.err
        assert r"caf\xe9-\x1b[31m\n.png" in (folder / "t.csv").read_text("utf-8")
        page = (folder / "page.html").read_text("utf-8")
        assert r"caf\xe9-\x1b[31m\n.png" in page and r"bad\xff.png" in page
        json.dumps(json.loads(run(command, "--json").out), ensure_ascii=False).encode()

    def test_attribute(self, folder: Path, run: Run) -> None:
        command = "attribute --model tiny.pth --box 8,8,16,16 --tile 16 --steps 2 --json"
        ended = run(command, folder / "photos" / HOSTILE)
        assert ended.code == 0, ended.err
        values = json.loads(ended.out)
        json.dumps(values, ensure_ascii=False).encode()
