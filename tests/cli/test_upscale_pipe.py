"""``hat-deploy upscale -``: real processes, bytes in and bytes out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
WITH_IDENTITY = """
import sys
sys.path[:0] = ["tests"]
from fakes import IdentityEngine
from hat_deploy import api
from hat_deploy.cli import main
opened = api.Upscaler(IdentityEngine())
api.Upscaler = type("Upscaler", (), {"__new__": lambda *_, **__: opened})
main()
"""


def upscale(*arguments: object, data: bytes = b"") -> tuple[int, bytes, str]:
    process = subprocess.run(
        [sys.executable, "-c", WITH_IDENTITY, "upscale", *map(str, arguments)],
        input=data,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    return process.returncode, process.stdout, process.stderr.decode()


def png(shape: tuple[int, ...] = (4, 6, 3)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


def shape(data: bytes) -> tuple[int, ...]:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape


def test_standard_input_goes_to_standard_output() -> None:
    code, out, err = upscale("-", data=png())
    assert (code, err) == (0, "")
    assert out.startswith(b"\x89PNG") and shape(out) == (8, 12, 3)


def test_size_format_and_background(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(png((4, 6, 4)))
    arguments = [source, "-o", "-", "--format", "jpg", "--background", "white", "--width", "9"]
    code, out, err = upscale(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith(b"\xff\xd8\xff") and shape(out) == (6, 9, 3)


def test_standard_input_goes_to_a_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "large.webp"
    assert upscale("-", "-o", target, data=png()) == (0, b"", "")
    assert shape(target.read_bytes()) == (8, 12, 3)
    before = target.read_bytes()
    code, _, err = upscale("-", "-o", target, data=png((5, 5, 3)))
    assert code == 2 and "exists: --overwrite replaces it" in err
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "data", "code", "sentence"),
    [
        (["-"], b"", 2, "standard input: the file is empty"),
        (["-"], b"\x89PNG\r\n\x1a\n", 2, "standard input: "),
        (["-"], b"hello", 2, "it is a text file"),
        (["-", "b.png"], png(), 2, "- stands for one image"),
        (["-", "--report", "r"], png(), 2, "--report does not apply"),
        (["-", "--format", "heic"], png(), 2, "unknown format 'heic'"),
        (["-", "-o", "a.txt"], png(), 2, "expected a file that ends in one of .png"),
        (["-", "--background", "pink"], png(), 2, "give white, black or a colour as #rrggbb"),
        (["nothing.png", "-o", "-"], b"", 2, "nothing.png: it cannot be read: No such file"),
    ],
)
def test_what_goes_wrong_is_a_sentence(
    arguments: list[str], data: bytes, code: int, sentence: str
) -> None:
    found, out, err = upscale(*arguments, data=data)
    assert (found, out) == (code, b"")
    assert err.startswith("error: ") and sentence in err and err.count("\n") == 1
