"""An ``.onnx`` without this package: ten lines of numpy give what ``Upscaler`` gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hat_deploy import Upscaler

EXAMPLE = """
import cv2, numpy as np, onnxruntime

session = onnxruntime.InferenceSession("hat.onnx", providers=["CPUExecutionProvider"])
batch, _, tile_height, tile_width = session.get_inputs()[0].shape
image = cv2.imread("photos/china.png")[:tile_height, :tile_width, ::-1]  # BGR to RGB
height, width = image.shape[:2]
padding = ((0, tile_height - height), (0, tile_width - width), (0, 0))
tile = np.pad(image, padding, mode="reflect").transpose(2, 0, 1) / np.float32(255)  # CHW, [0, 1]
output = session.run(None, {session.get_inputs()[0].name: np.stack([tile] * batch)})[0][0]
scale = output.shape[1] // tile_height
output = output[:, : height * scale, : width * scale].clip(0, 1)  # the network overshoots
large = np.rint(output * 255).astype(np.uint8).transpose(1, 2, 0)
cv2.imwrite("china-raw.png", large[..., ::-1])
"""


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
    exec(compile(EXAMPLE, "example", "exec"), {})
    with Upscaler(tmp_path / "hat.onnx", backend="onnxruntime") as upscaler:
        expected = upscaler.upscale(pixels)
    found = np.asarray(Image.open(tmp_path / "china-raw.png"))
    assert np.array_equal(found, expected)
