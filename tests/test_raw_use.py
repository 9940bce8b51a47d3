"""An ``.onnx`` without this package: what docs/python.md shows gives what ``Upscaler`` gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hat_deploy import Upscaler

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


def example() -> str:
    """The code that the page shows under its heading about use without the package."""
    text = PAGE.read_text(encoding="utf-8").split("## Use an `.onnx` without this package")[1]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(code)


def test_the_example_does_not_need_the_package() -> None:
    assert "hat_deploy" not in example()


@pytest.mark.parametrize("size", [(24, 16), (20, 11), (13, 16)])
def test_the_example_does_what_the_upscaler_does(
    size: tuple[int, int], tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one tile; more are a matter of halos, which the package takes care of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hat.onnx").write_bytes(tiny_onnx.read_bytes())
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "china.png")
    exec(compile(example(), str(PAGE), "exec"), {})
    with Upscaler(tmp_path / "hat.onnx", backend="onnxruntime") as upscaler:
        expected = upscaler.upscale(pixels)
    found = np.asarray(Image.open(tmp_path / "china-raw.png"))
    assert np.array_equal(found, expected)
