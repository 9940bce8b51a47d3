"""The commands as a user types them: real processes, real files, exit codes."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import interrupts
import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from hat_deploy.cli import commands
from hat_deploy.folders.journal import NAME, Journal

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "export", "upscale", "status", "verify", "ranges", "bench", "evaluate", "attribute", "info",
    "models", "doctor",
)  # fmt: skip
HEAVY = {"av", "torch", "cv2", "onnx", "onnxruntime", "numpy", "openvino", "tensorrt", "rich"}


def cli(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "cli.py", *map(os.fsencode, map(str, arguments))],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=600,
        **options,
    )


def picture(path: Path, size: tuple[int, int] = (12, 10)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tiny_checkpoint(shallow_checkpoint: Path) -> Path:
    """One that is exported in half the time."""
    return shallow_checkpoint


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = cli(command, "--help")
    assert shown.returncode == 0
    assert "Usage" in shown.stdout
    assert cli(command, "-h").stdout == shown.stdout


def test_help_shows_each_summary_whole() -> None:
    words = " ".join(cli("-h", env=os.environ | {"COLUMNS": "80"}).stdout.split())
    assert tuple(commands.COMMANDS) == COMMANDS
    for name, command in commands.COMMANDS.items():
        summary = inspect.getdoc(command).splitlines()[0]
        assert summary.endswith(".")
        assert f"{name} {summary}" in words


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_is_explained_by_a_sentence(command: str) -> None:
    for parameter in get_command(commands.app).commands[command].params:
        assert re.fullmatch(r"[A-Z0-9].*\.", parameter.help), parameter.name


def imported(*arguments: str, **environment: str) -> set[str]:
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "cli.py", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    found = set(re.findall(r"\|\s+([\w.]+)$", listed.stderr, re.MULTILINE))
    assert "typer" in found
    return found


def test_help_imports_nothing_heavy() -> None:
    assert not imported("--help") & HEAVY


COMPLETING = {
    "_CLI.PY_COMPLETE": "complete_bash",
    "COMP_WORDS": "hat-deploy ran",
    "COMP_CWORD": "1",
}


def test_the_shell_completes_commands_and_options() -> None:
    assert cli(env=os.environ | COMPLETING).stdout.split() == ["ranges"]
    words = {"COMP_WORDS": "hat-deploy ranges --rand", "COMP_CWORD": "2"}
    assert cli(env=os.environ | COMPLETING | words).stdout.split() == ["--random"]


def test_completing_imports_nothing_heavy() -> None:
    assert not imported(**COMPLETING) & HEAVY


def test_completion_is_installed(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = cli("--install-completion", "bash", env=os.environ | home)
    assert done.returncode == 0, done.stderr
    assert "completion installed" in done.stdout
    assert ".bash_completions" in (tmp_path / ".bashrc").read_text("utf-8")


def test_version() -> None:
    assert re.fullmatch(r"hat-deploy \d+\.\d+\.\d+\n", cli("--version").stdout)


@pytest.mark.slow
def test_export_then_upscale(tmp_path: Path, tiny_checkpoint: Path) -> None:
    artifact = tmp_path / "tiny.onnx"
    exported = cli("export", tiny_checkpoint, "-o", artifact, "--tile", "16x24")
    assert exported.returncode == 0, exported.stderr
    assert "max difference" in exported.stdout
    photos = tmp_path / "photos"
    picture(photos / "a.png")
    picture(photos / "deep" / "b.jpg")
    done = cli("upscale", photos, "--engine", artifact, "--recursive")
    assert done.returncode == 0, done.stderr
    assert "2 upscaled" in done.stdout
    assert cv2.imread(str(tmp_path / "photos-x2" / "a.png")).shape == (24, 20, 3)
    assert (tmp_path / "photos-x2" / "deep" / "b.jpg").is_file()
    again = cli("upscale", photos, "--engine", artifact, "--recursive")
    assert "0 upscaled, 2 skipped" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("export", "none.pth", "-o", "x.onnx"), "none.pth"),
        (("export", "x.pth", "-o", "x.txt"), "suffix"),
        (("export", "hat-nano-x2", "-o", "x.onnx", "--tile", "1o0"), "--tile 1o0"),
        (("export", "hat-nano-x2", "-o", "x.onnx", "--tile", "100"), "use 112"),
        (("upscale", "none.png"), "none.png does not exist"),
        (("upscale", ".", "--model", "nobody"), "'nobody' is neither"),
        (("upscale", ".", "--model", "a", "--engine", "b"), "cannot be used together"),
        (("upscale", ".", "--engine", "none.onnx"), "none.onnx is not a file"),
        (("upscale", ".", "--device", "cuda"), "--device cuda"),
        (("export", "hat-nano-x2", "-o", "/proc/none/x.onnx"), "/proc/none"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = cli(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.glob("x.*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--tile", "auto"), ("--dry-run",), ("--recursive",)])
def test_an_empty_inbox_is_a_good_end(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    done = cli("upscale", tmp_path / "in", *options)
    assert done.returncode == 0, done.stderr
    assert f"no images found in {tmp_path}/in: there is nothing to do" in done.stdout
    assert not (tmp_path / "in-x2").exists()


def shown(folder: Path) -> list[Path]:
    """What ``ls`` shows: the journal is hidden."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def hostile_folder(folder: Path) -> tuple[int, int]:
    """Every kind of entry a folder run may meet; returns how many are good and bad."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (9, 7, 3), np.uint8)
    gray = rgb[..., 0]
    good = {
        "with space.png": Image.fromarray(rgb),
        "new\nline.png": Image.fromarray(rgb),
        "-dash.png": Image.fromarray(rgb),
        "ünïcode.png": Image.fromarray(rgb),
        "UPPER.PNG": Image.fromarray(rgb),
        "gray.png": Image.fromarray(gray),
        "rgba.png": Image.fromarray(np.dstack([rgb, gray])),
        "gray-alpha.png": Image.fromarray(np.dstack([gray, gray]), "LA"),
        "palette.png": Image.fromarray(rgb).quantize(16),
        "one-bit.png": Image.fromarray(gray).convert("1"),
        "deep.png": Image.fromarray(gray.astype(np.uint16) * 257),
        "cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
        "gray.jpg": Image.fromarray(gray),
        "photo.jpeg": Image.fromarray(rgb),
        "photo.webp": Image.fromarray(rgb),
        "photo.tif": Image.fromarray(rgb),
        "photo.tiff": Image.fromarray(np.dstack([rgb, gray])),
        "photo.bmp": Image.fromarray(rgb),
        "tiny.png": Image.fromarray(rgb[:1, :1]),
    }
    for name, image in good.items():
        image.save(folder / name)
    (folder / "tiny.png").rename(folder / os.fsdecode(b"not-utf8-\xff.png"))
    whole = (folder / "gray.png").read_bytes()
    bad = {
        "empty.png": b"",
        "text.png": b"hello",
        "page.jpg": b"<!DOCTYPE html><html></html>",
        "cut.png": whole[: len(whole) // 2],
        "vector.webp": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:])
    (folder / "dangling.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    for ignored in ("notes.txt", ".hidden.png", "Thumbs.db", ".DS_Store"):
        (folder / ignored).write_bytes(b"x")
    return len(good) + 1, len(bad) + 4  # frames of a WebP are read, those of a PNG are not


def test_a_hostile_folder(tmp_path: Path, tiny_onnx: Path) -> None:
    good, bad = hostile_folder(tmp_path / "in")
    before = {p: p.read_bytes() for p in (tmp_path / "in").iterdir() if p.is_file()}
    result = cli("upscale", tmp_path / "in", "-o", tmp_path / "out", "--engine", tiny_onnx)
    assert result.returncode == 3, result.stderr
    assert f"{good} upscaled, 0 skipped (results exist), {bad} not processed" in result.stdout
    listed = [line for line in result.stderr.splitlines() if line.startswith("not processed: ")]
    assert len(listed) == bad
    assert "Traceback" not in result.stderr
    assert len(shown(tmp_path / "out")) == good
    assert {p: p.read_bytes() for p in before} == before
    deep = cv2.imread(str(tmp_path / "out" / "deep.png"), cv2.IMREAD_UNCHANGED)
    assert (deep.dtype, deep.ndim) == (np.uint16, 2)


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_file(tmp_path: Path, tiny_onnx: Path) -> None:
    for number in range(200):
        picture(tmp_path / "in" / f"{number:03}.png", (150, 150))
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "upscale", tmp_path / "in", "--engine", tiny_onnx],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interrupts.default,
    )
    results = tmp_path / "in-x2"
    deadline = time.monotonic() + 300
    while len(list(results.glob("*.png")) if results.is_dir() else []) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in errors
    for path in shown(results):
        assert Image.open(path).size == (300, 300)
        Image.open(path).load()
    assert not list(results.glob(".*part*"))


class TestUpscaleOptions:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        picture(tmp_path / "in" / "a.png", (30, 30))
        picture(tmp_path / "in" / "b.jpg")
        (tmp_path / "in" / "c.png").write_bytes(b"hello")
        return tmp_path / "in"

    def test_a_dry_run_writes_nothing_and_says_all(self, folder: Path, tiny_onnx: Path) -> None:
        told = cli("upscale", folder, "--engine", tiny_onnx, "--dry-run")
        assert told.returncode == 3
        first, second, summary = told.stdout.splitlines()
        assert first == f"{folder}/a.png -> {folder}-x2/a.png, 30x30 to 60x60, 6 tiles"
        assert second.startswith(f"{folder}/b.jpg -> {folder}-x2/b.jpg, 10x12 to 20x24, ")
        assert summary.startswith("2 to upscale, 7 tiles, 0 skipped (results exist), 1 not proc")
        assert "c.png: it is a text file" in told.stderr
        assert not Path(f"{folder}-x2").exists()
        assert {path.name for path in folder.iterdir()} == {"a.png", "b.jpg", "c.png"}

    @pytest.mark.slow
    def test_a_dry_run_knows_what_is_done(self, folder: Path, tiny_onnx: Path) -> None:
        cli("upscale", folder, "--engine", tiny_onnx)
        before = {p: p.read_bytes() for p in Path(f"{folder}-x2").iterdir()}
        told = cli("upscale", folder, "--engine", tiny_onnx, "--dry-run")
        assert "0 to upscale, 0 tiles, 2 skipped" in told.stdout
        assert {p: p.read_bytes() for p in Path(f"{folder}-x2").iterdir()} == before

    @pytest.mark.slow
    def test_a_dry_run_exports_nothing(
        self, folder: Path, quick_checkpoint: Path, tmp_path: Path
    ) -> None:
        cache = tmp_path / "cache"  # see conftest
        command = ("upscale", folder, "--model", quick_checkpoint, "--tile", "48x48")
        told = cli(*command, "--dry-run")
        assert told.returncode == 3, told.stderr
        what, first, _, summary = told.stdout.splitlines()
        assert what == (
            "tiny would be exported first, once: an .onnx in fp32, tile 48x48, batch 1, "
            "kept in the cache"
        )
        assert first == f"{folder}/a.png -> {folder}-x2/a.png, 30x30 to 60x60, 1 tile"
        assert summary.endswith("1 not processed; tiny, not exported yet")
        assert not cache.exists() and not Path(f"{folder}-x2").exists()
        assert "2 upscaled" in cli(*command).stdout
        for artifact in cache.glob("*.onnx"):
            artifact.unlink()
        again = cli(*command, "--dry-run")
        assert "0 to upscale, 0 tiles, 2 skipped" in again.stdout
        other = cli(*command, "--halo", "0", "--dry-run")
        assert "2 to upscale" in other.stdout
        assert list(cache.glob("*.onnx")) == []
        wrong = cli(*command, "--halo", "3", "--dry-run")
        assert wrong.returncode == 2 and "halo 3" in wrong.stderr
        broken = tmp_path / "broken.pth"
        broken.write_text("hello")
        wrong = cli("upscale", folder, "--model", broken, "--dry-run")
        assert wrong.returncode == 2 and "broken.pth is a text file" in wrong.stderr

    @pytest.mark.slow
    def test_another_run_with_other_settings_is_refused(
        self, folder: Path, tiny_onnx: Path, tmp_path: Path
    ) -> None:
        report = tmp_path / "run.jsonl"
        report.write_text("an earlier one\n")
        (folder / "d.png").symlink_to("nowhere")
        at_work = Journal(Path(f"{folder}-x2"), {"model": "another"})
        command = ("upscale", folder, "--engine", tiny_onnx)
        refused = cli(*command, "--report", report)
        assert refused.returncode == 2
        assert "another hat-deploy with another model or other settings" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert report.read_text() == "an earlier one\n" and shown(Path(f"{folder}-x2")) == []
        assert cli(*command, "--dry-run").returncode == 3  # which only reads
        at_work.close()
        assert "2 upscaled" in cli(*command, "--report", report).stdout
        assert len(report.read_text().splitlines()) == 4

    @pytest.mark.slow
    def test_bad_lines_of_a_journal_are_told(self, folder: Path, tiny_onnx: Path) -> None:
        command = ("upscale", folder, "--engine", tiny_onnx)
        cli(*command)
        journal = Path(f"{folder}-x2") / NAME
        journal.write_bytes(journal.read_bytes() + b"[" * 100_000 + b"\n")
        for options in ((), ("--dry-run",)):
            done = cli(*command, *options)
            assert "2 skipped" in done.stdout
            assert f"note: 1 line of {journal} cannot be read as entries" in done.stderr

    @pytest.mark.slow
    def test_a_journal_that_is_a_link_is_refused(self, folder: Path, tiny_onnx: Path) -> None:
        diary = folder.parent / "diary"
        diary.write_bytes(b"dear diary")
        journal = Path(f"{folder}-x2") / NAME
        journal.parent.mkdir()
        journal.symlink_to(diary)
        for options in ((), ("--dry-run",)):
            done = cli("upscale", folder, "--engine", tiny_onnx, *options)
            assert done.returncode == 3
            assert f"{journal} is a symbolic link, not a plain file: remove it" in done.stderr
        assert diary.read_bytes() == b"dear diary"

    @pytest.mark.slow
    def test_a_report_has_a_line_for_each(
        self, folder: Path, tiny_onnx: Path, tmp_path: Path
    ) -> None:
        report = tmp_path / "run.jsonl"
        (folder / "d.png").symlink_to("nowhere")
        cli("upscale", folder, "--engine", tiny_onnx, "--report", report)
        lines = {Path(line["source"]).name: line for line in map(json.loads, report.open())}
        outcomes = {name: line["outcome"] for name, line in lines.items()}
        assert outcomes == {"a.png": "done", "b.jpg": "done", "c.png": "failed", "d.png": "failed"}
        done = lines["a.png"]
        assert done["tiles"] == 6 and done["seconds"] >= 0 and done["notes"] == []
        assert done["target"] == f"{folder}-x2/a.png"
        assert "text file" in lines["c.png"]["reason"]
        assert lines["d.png"]["target"] is None
        cli("upscale", folder, "--engine", tiny_onnx, "--report", report)
        again = [json.loads(line)["outcome"] for line in report.open()]
        assert sorted(again) == ["failed", "failed", "skipped", "skipped"]

    @pytest.mark.slow
    def test_a_report_that_does_not_fit_the_disk_is_said(
        self, folder: Path, tiny_onnx: Path
    ) -> None:
        done = cli("upscale", folder, "--engine", tiny_onnx, "--report", "/dev/full")
        assert done.returncode == 3
        assert "2 upscaled" in done.stdout
        assert "report /dev/full is incomplete: No space left on device" in done.stderr

    @pytest.mark.slow
    def test_fail_fast(self, folder: Path, tiny_onnx: Path) -> None:
        (folder / "0.png").symlink_to("nowhere")
        done = cli("upscale", folder, "--engine", tiny_onnx, "--fail-fast")
        assert done.returncode == 3
        assert "0 upscaled" in done.stdout
        assert "not processed: 3 not tried: the run was to stop" in done.stderr

    @pytest.mark.slow
    def test_limits(self, folder: Path, tiny_onnx: Path) -> None:
        done = cli(
            *("upscale", folder, "--engine", tiny_onnx),
            *("--memory", "20K", "--max-pixels", "500"),
        )
        assert "1 upscaled, 0 skipped (results exist), 2 not processed" in done.stdout
        assert "a.png: it has 30x30 pixels" in done.stderr
        wrong = cli("upscale", folder, "--engine", tiny_onnx, "--memory", "much")
        assert wrong.returncode == 2 and "--memory much" in wrong.stderr

    @pytest.mark.slow
    def test_unknown_results_are_kept_and_said(self, folder: Path, tiny_onnx: Path) -> None:
        picture(Path(f"{folder}-x2") / "a.png")
        done = cli("upscale", folder, "--engine", tiny_onnx)
        assert "1 upscaled, 1 skipped (results exist), 1 not processed" in done.stdout
        assert "note: 1 skipped: it exists, and the journal does not know it" in done.stderr

    @pytest.mark.slow
    def test_a_chosen_tile_is_explained(self, folder: Path, tiny_checkpoint: Path) -> None:
        first = cli("upscale", folder, "--model", tiny_checkpoint, "--tile", "auto")
        assert "2 upscaled" in first.stdout, first.stderr
        (why,) = [line for line in first.stderr.splitlines() if line.startswith("tile ")]
        assert "pixels computed for each of" in why
        refused = cli("upscale", folder, "--engine", "x.onnx", "--tile", "auto")
        assert refused.returncode == 2 and "--tile does not apply" in refused.stderr
