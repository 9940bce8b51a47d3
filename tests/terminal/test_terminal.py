"""Nothing that a file says reaches the terminal as anything but text."""

from __future__ import annotations

import ast
import io
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from tiny import save_tensors

from hat_deploy import artifact
from hat_deploy.terminal.printable import Guarded, guarded, printable

ROOT = Path(__file__).parents[2]
EVIL = "a\x1b]0;owned\x07\x1b[31m\x9b2J\r\u202egnp\x00[bold]x[/y]"
"""Title, colour, a C1 clear screen, carriage return, turned direction, NUL, and markup."""
NAME = EVIL.replace("/", "").replace("\x00", "")
ALLOWED = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]")
"""Bytes of UTF-8 that only a hostile text would put into output that is no terminal."""


def run(*arguments: str | bytes | Path, cwd: Path, **environment: str) -> tuple[int, bytes]:
    """Exit code, and what was written to standard output and error."""
    code = "from hat_deploy.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    return done.returncode, done.stdout + done.stderr


def run_on_terminal(*arguments: str | bytes | Path, cwd: Path) -> bytes:
    """What a terminal is sent."""
    main, other = pty.openpty()
    code = "from hat_deploy.cli import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        stdin=other,
        stdout=other,
        stderr=other,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
    )
    os.close(other)
    sent = b""
    with child:
        while True:
            try:
                chunk = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            sent += chunk
    os.close(main)
    return sent


def assert_tame(said: bytes) -> None:
    found = ALLOWED.search(said)
    assert found is None, said[max(0, found.start() - 60) : found.end() + 60]


def evil_checkpoint(folder: Path, tiny_checkpoint: Path) -> Path:
    weights = torch.load(tiny_checkpoint)["params_ema"]
    return save_tensors(weights | {EVIL: torch.zeros(1)}, folder / f"{NAME}.pth")


def evil_artifact(folder: Path, tiny_onnx: Path) -> Path:
    model = onnx.load(tiny_onnx)
    told = replace(artifact.describe(tiny_onnx), model=EVIL, versions={EVIL: EVIL})
    model.metadata_props[0].value = told.to_json()
    renamed = model.graph.output[0].name
    model.graph.output[0].name = EVIL
    for node in model.graph.node:
        node.output[:] = [EVIL if name == renamed else name for name in node.output]
    model.graph.initializer[0].name, old = EVIL + "2", model.graph.initializer[0].name
    for node in model.graph.node:
        node.input[:] = [EVIL + "2" if name == old else name for name in node.input]
    path = folder / f"{NAME}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def failing_artifact(folder: Path, tiny_onnx: Path) -> Path:
    """One whose first node fails when it is run, and is named so."""
    model = onnx.load(tiny_onnx)
    graph = model.graph
    graph.initializer.append(helper.make_tensor("far", TensorProto.INT64, [1], [10**9]))
    source = graph.input[0].name
    fails = [
        helper.make_node("Shape", [source], ["shape"]),
        helper.make_node("Gather", ["shape", "far"], ["never"], name=EVIL.replace("\x00", "")),
        helper.make_node("Cast", ["never"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", [source, "number"], ["sum"]),
    ]
    for node in graph.node:
        node.input[:] = ["sum" if name == source else name for name in node.input]
    nodes = [*fails, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    path = folder / f"failing{NAME}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def evil_picture(folder: Path) -> Path:
    picture = Image.new("RGB", (30, 20), (90, 120, 30))
    exif = Image.Exif()
    exif[0x010E] = exif[0x0131] = EVIL
    path = folder / f"{NAME}.png"
    picture.save(path, format="PNG", exif=exif)
    return path


@pytest.fixture
def evil(tmp_path: Path, tiny_checkpoint: Path, tiny_onnx: Path) -> Path:
    """A folder of them."""
    evil_checkpoint(tmp_path, tiny_checkpoint)
    (tmp_path / f"good{NAME}.pth").write_bytes(tiny_checkpoint.read_bytes())
    evil_artifact(tmp_path, tiny_onnx)
    failing_artifact(tmp_path, tiny_onnx)
    evil_picture(tmp_path)
    (tmp_path / f"bad{NAME}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


QUICK: dict[str, tuple[str, ...]] = {
    "info checkpoint": ("info", f"{NAME}.pth"),
    "info artifact": ("info", f"{NAME}.onnx"),
    "info json": ("info", f"{NAME}.onnx", "--json"),
    "upscale": ("upscale", f"{NAME}.png", f"bad{NAME}.png", "--engine", f"{NAME}.onnx"),
    "upscale a model": ("upscale", f"{NAME}.png", "--model", "m[/x].safetensors"),
    "usage": ("upscale", f"--{NAME}"),
}
SLOW: dict[str, tuple[str, ...]] = {
    "info missing": ("info", f"no{NAME}.onnx"),
    "upscale dry": ("upscale", ".", "--engine", f"{NAME}.onnx", "--dry-run"),
    "upscale a damaged model": ("upscale", f"{NAME}.png", "--model", f"{NAME}.pth"),
    "verify": ("verify", "--engine", f"{NAME}.onnx", "--reference", f"good{NAME}.pth"),
    "evaluate": ("evaluate", "--hr", ".", "--engine", f"{NAME}.onnx"),
    "attribute": (
        "attribute", f"{NAME}.png", "--box", "4,4,4,4", "--steps", "2", "--tile", "16",
        "--model", f"good{NAME}.pth",
    ),
    "export": ("export", f"{NAME}.pth", "-o", "x.onnx"),
    "bench": ("bench", "--engine", f"{NAME}.pth"),
    "a node that fails": (
        "bench", "--engine", f"failing{NAME}.onnx", "--no-reference", "--no-memory",
        "--backend", "onnxruntime",
    ),
    "no command": (NAME,),
}  # fmt: skip
COMMANDS = QUICK | SLOW


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(x, marks=pytest.mark.slow) for x in SLOW)])
def test_hostile_names_are_only_text(evil: Path, name: str) -> None:
    status, said = run(*COMMANDS[name], cwd=evil)
    assert b"Traceback" not in said, said.decode()
    assert status in (0, 1, 2, 3), said.decode()
    assert_tame(said)


@pytest.mark.slow
def test_a_terminal_gets_no_sequence_but_our_own(evil: Path) -> None:
    sent = run_on_terminal(
        "upscale", f"{NAME}.png", f"bad{NAME}.png", "--engine", f"{NAME}.onnx", cwd=evil
    )
    assert b"not processed" in sent
    assert rb"\x1b]0;owned\x07" in sent
    assert b"\x1b]" not in sent
    assert b"\x9b2J" not in sent
    assert b"\xc2\x9b" not in sent
    assert b"\xe2\x80\xae" not in sent
    assert b"\x1b[" in sent, "no bar was drawn"
    assert rb"\x1b[?25l" not in sent, "a style of our own was escaped"


@pytest.mark.slow
def test_markup_in_a_name_is_text_on_a_terminal(evil: Path, quick_checkpoint: Path) -> None:
    model = evil / "m[" / "x].pth"
    model.parent.mkdir()
    model.write_bytes(quick_checkpoint.read_bytes())
    sent = run_on_terminal(
        "upscale", f"{NAME}.png", "--model", "m[/x].pth", "--tile", "16", cwd=evil
    )
    assert b"Traceback" not in sent, sent.decode(errors="replace")
    assert b"1 upscaled" in sent


def test_a_reader_that_knows_ascii_only_gets_escapes(evil: Path) -> None:
    status, said = run("info", f"{NAME}ü.pth", cwd=evil, PYTHONIOENCODING="ascii")
    assert status == 2
    assert rb"\xfc.pth" in said
    assert_tame(said)


def test_printable() -> None:
    assert printable("plain ü 日本 ⠋ ━") == "plain ü 日本 ⠋ ━"
    assert printable("a\nb\tc\rd", keep="\n\t") == "a\nb\tc\\rd"
    shown = printable("".join(map(chr, range(0x110000))))
    assert shown.isprintable()


def test_a_guarded_stream_is_the_stream_it_wraps() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = guarded(raw)
    assert guarded(stream) is stream
    print("a\x1bb\n", "ü", file=stream)
    stream.writelines(["\x9b", "\n"])
    stream.flush()
    assert raw.buffer.getvalue() == b"a\\x1bb\n \\xfc\n\\x9b\n"  # type: ignore[attr-defined]
    assert not stream.isatty()
    with pytest.raises((TypeError, AttributeError)):
        stream.write(b"bytes")  # type: ignore[arg-type]


def test_consoles_are_made_in_one_place() -> None:
    """Rich writes escape sequences itself: only the console that guards its text may."""
    makers = []
    for path in sorted((ROOT / "hat_deploy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id == "Console":
                makers.append(path.name)
    assert makers == []
    assert isinstance(guarded(sys.stdout), Guarded)
