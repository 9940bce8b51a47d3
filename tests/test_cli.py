"""The commands as a user types them: real processes, real files, exit codes."""

from __future__ import annotations

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

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "export", "upscale", "verify", "bench", "evaluate", "info", "models", "doctor",
)  # fmt: skip


def cli(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "cli.py", *map(os.fsencode, map(str, arguments))],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=120,
        **options,
    )


def picture(path: Path, size: tuple[int, int] = (12, 10)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = cli(command, "--help")
    assert shown.returncode == 0
    assert "Usage" in shown.stdout


def test_help_imports_nothing_heavy() -> None:
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "cli.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"\|\s+([\w.]+)$", listed.stderr, re.MULTILINE))
    heavy = {"torch", "cv2", "onnx", "onnxruntime", "numpy", "openvino", "tensorrt", "rich"}
    assert "typer" in imported
    assert not imported & heavy


def test_version() -> None:
    assert re.fullmatch(r"hat-deploy \d+\.\d+\.\d+\n", cli("--version").stdout)


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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("export", "none.pth", "-o", "x.onnx"), "none.pth"),
        (("export", "x.pth", "-o", "x.txt"), "suffix"),
        (("export", "hat-nano-x2", "-o", "x.onnx", "--tile", "1o0"), "--tile 1o0"),
        (("export", "hat-nano-x2", "-o", "x.onnx", "--tile", "100"), "use 112"),
        (("upscale", "none.png"), "none.png does not exist"),
        (("upscale", ".", "--model", "nobody"), "'nobody' is neither"),
        (("upscale", ".", "--model", "a", "--engine", "b"), "exclude each other"),
        (("upscale", ".", "--engine", "none.onnx"), "none.onnx is not a file"),
        (("upscale", ".", "--device", "cuda"), "CUDA"),
        (("upscale", "."), "no pictures found"),
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
    return len(good), len(bad) + 5


def test_a_hostile_folder(tmp_path: Path, tiny_onnx: Path) -> None:
    good, bad = hostile_folder(tmp_path / "in")
    before = {p: p.read_bytes() for p in (tmp_path / "in").iterdir() if p.is_file()}
    result = cli("upscale", tmp_path / "in", "-o", tmp_path / "out", "--engine", tiny_onnx)
    assert result.returncode == 3, result.stderr
    assert f"{good} upscaled, 0 skipped (results exist), {bad} not processed" in result.stdout
    listed = [line for line in result.stderr.splitlines() if line.startswith("not processed: ")]
    assert len(listed) == bad
    assert "Traceback" not in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == good
    assert {p: p.read_bytes() for p in before} == before
    deep = cv2.imread(str(tmp_path / "out" / "deep.png"), cv2.IMREAD_UNCHANGED)
    assert (deep.dtype, deep.ndim) == (np.uint16, 2)


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
    deadline = time.monotonic() + 60
    while len(list(results.glob("*.png")) if results.is_dir() else []) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    for path in results.iterdir():
        assert Image.open(path).size == (300, 300)
        Image.open(path).load()
