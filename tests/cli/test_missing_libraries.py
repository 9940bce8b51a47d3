"""Every command without each library: it works, or says in one sentence what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import hidden
import numpy as np
import pytest

EXPORTING = ("torch", "onnx", "onnxscript", "onnx_ir", "safetensors")
PLANS = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "cuda", "pycuda")
RUNNING = ("onnxruntime", "openvino")

WITH_TORCH = {
    "export": ("export", "tiny.pth", "-o", "new.onnx", "--tile", "16"),
    "a checkpoint": ("upscale", "photos", "--model", "tiny.pth", "--tile", "16"),
    "auto of a checkpoint": ("upscale", "photos", "--model", "tiny.pth", "--tile", "auto"),
    "score a checkpoint": ("evaluate", "--hr", "photos", "--model", "tiny.pth", "--tile", "16"),
    "attribute": ("attribute", "photos/a.png", "--box", "8,8,16,16", "--model", "tiny.pth"),
    "verify": ("verify", "--engine", "tiny.onnx", "--reference", "tiny.pth", "photos/a.png"),
    "ranges": ("ranges", "tiny.pth", "photos/a.png"),
    "info": ("info", "tiny.pth"),
    "reference": ("bench", "--engine", "tiny.onnx", "--reference", "tiny.pth"),
}
WITHOUT = {
    "shipped": ("upscale", "photos"),
    "another tile": ("upscale", "photos", "--tile", "64", "--overwrite"),
    "auto": ("upscale", "photos", "--tile", "auto", "--overwrite"),
    "engine": ("upscale", "photos", "--engine", "tiny.onnx", "--overwrite"),
    "score": ("evaluate", "--hr", "photos", "--engine", "tiny.onnx", "--report", "page.html"),
    "artifact": ("info", "tiny.onnx"),
    "name": ("info", "hat-nano-x2"),
    "models": ("models",),
    "doctor": ("doctor",),
    "bench": (
        "bench", "--engine", "tiny.onnx", "--iterations", "1", "--seconds", "0", "--no-memory",
        "--scope", "call",
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny_checkpoint: Path, tiny_onnx: Path) -> Path:
    shutil.copy(tiny_checkpoint, tmp_path / "tiny.pth")
    shutil.copy(tiny_onnx, tmp_path / "tiny.onnx")
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), noise)
    return tmp_path


def outcomes(
    missing: tuple[str, ...], commands: dict[str, tuple[str, ...]], folder: Path
) -> dict[str, hidden.Ended]:
    ended = hidden.run(missing, list(commands.values()), folder)
    found = dict(zip(commands, ended, strict=True))
    for name, result in found.items():
        assert "Traceback" not in result.said, f"{name}: {result.said}"
    return found


def one_sentence(result: hidden.Ended, library: str, extra: str) -> None:
    assert result.code == 2, result.said
    (line,) = [line for line in result.said.splitlines() if line.startswith("error: ")]
    assert f"needs {library}, which is not installed" in line
    assert f"pip install '.[{extra}]'" in line


def test_without_ray_nothing_asks_for_it(folder: Path) -> None:
    here = ("upscale", "photos", "--engine", "tiny.onnx")
    commands = {"here": here, "cluster": (*here, "--ray", "local")}
    found = outcomes(("ray",), commands, folder)
    assert found["here"].code == 0, found["here"].said
    one_sentence(found["cluster"], "ray", "ray")


@pytest.mark.slow
def test_with_the_cpu_extra_alone(folder: Path) -> None:
    found = outcomes((*EXPORTING, *PLANS), WITHOUT | WITH_TORCH, folder)
    for name in WITHOUT:
        assert found[name].code == 0, f"{name}: {found[name].said}"
    for name in WITH_TORCH:
        one_sentence(found[name], "torch", "export")
    assert not (folder / "new.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "extra", "command"),
    [
        ("onnx", "export", WITH_TORCH["export"]),
        ("onnxscript", "export", WITH_TORCH["export"]),
        ("onnxruntime", "cpu", WITH_TORCH["export"]),
        ("onnx", "export", (*WITH_TORCH["verify"], "--layers")),
        ("onnx", "export", WITH_TORCH["a checkpoint"]),
        ("safetensors", "export", ("ranges", "hat-nano-x2")),
    ],
)
def test_without_one_library(
    library: str, extra: str, command: tuple[str, ...], folder: Path
) -> None:
    found = outcomes((library,), {"it": command}, folder)
    one_sentence(found["it"], library, extra)


@pytest.mark.slow
def test_without_an_engine(folder: Path) -> None:
    commands = {name: WITHOUT[name] for name in ("shipped", "engine", "score", "bench")}
    commands["verify"] = WITH_TORCH["verify"]
    for result in outcomes(RUNNING, commands, folder).values():
        one_sentence(result, "onnxruntime", "cpu")


@pytest.mark.slow
def test_one_engine_is_enough(folder: Path) -> None:
    commands = {name: WITHOUT[name] for name in ("shipped", "score")}
    for missing in RUNNING:
        for result in outcomes((missing,), commands, folder).values():
            assert result.code == 0, result.said
    asked = {"asked": (*WITHOUT["engine"], "--backend", "openvino")}
    one_sentence(outcomes(("openvino",), asked, folder)["asked"], "openvino", "cpu")


def test_without_video(folder: Path) -> None:
    """Images need no PyAV; a clip says what it needs."""
    shutil.copytree(folder / "photos", folder / "both")
    for place in (folder, folder / "both"):
        (place / "clip.mp4").write_bytes(b"a clip")
    commands = {
        "images": WITHOUT["engine"],
        "both": ("upscale", "both", "--engine", "tiny.onnx"),
        "clip": ("upscale", "clip.mp4", "--engine", "tiny.onnx"),
    }
    found = outcomes(("av",), commands, folder)
    assert found["images"].code == 0, found["images"].said
    assert found["both"].code == 3 and "1 upscaled" in found["both"].said
    assert "needs av, which is not installed" in found["both"].said
    one_sentence(found["clip"], "av", "video")


def test_without_a_builder(folder: Path) -> None:
    commands = {
        "rtx": ("export", "tiny.onnx", "-o", "new.plan", "--gpu", "sm89"),
        "tensorrt": ("export", "tiny.pth", "-o", "new.plan", "--flavour", "tensorrt"),
    }
    found = outcomes(PLANS, commands, folder)
    one_sentence(found["rtx"], "TensorRT for RTX", "rtx")
    one_sentence(found["tensorrt"], "TensorRT", "gpu")


def test_the_python_api(folder: Path) -> None:
    code = (
        "from hat_deploy import Upscaler\n"
        "from hat_deploy.errors import MissingExtraError\n"
        "for arguments in [dict(batch=2), dict(model='tiny.pth')]:\n"
        "    try: Upscaler(**arguments)\n"
        "    except MissingExtraError as error: print(error)\n"
    )
    said = hidden.python(EXPORTING, code, folder)
    assert said.count("needs torch, which is not installed") == 2, said
