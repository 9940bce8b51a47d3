"""The wheel as a user gets it, and modules without the extras."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_installs_one_package_and_carries_the_zoo(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"hat_deploy"}
    zoo = "hat_deploy/models/hat-nano-x2/"
    for name in ("weights.safetensors", "config.json", "README.md", "hat-nano-x2.onnx"):
        assert zoo + name in names
    for name in ("py.typed", "reports/templates/page.html", "reports/templates/page.css"):
        assert f"hat_deploy/{name}" in names


@pytest.mark.slowest
def test_a_bare_environment_with_the_cpu_extra_upscales(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    pip += shlex.split(os.environ.get("PIP_ARGS", ""))
    subprocess.run([*pip, f"{wheel}[cpu]"], check=True)
    source = tmp_path / "china.png"
    Image.fromarray(load_sample_image("china.jpg")[:96, :128]).save(source)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    tool = environment / "bin" / "hat-deploy"
    done = subprocess.run(
        [tool, "upscale", source], capture_output=True, text=True, cwd=tmp_path, env=clean
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "china-x2.png").size == (256, 192)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
    wanting = subprocess.run(
        [tool, "export", "hat-nano-x2", "-o", "x.onnx"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean,
    )
    assert wanting.returncode == 2
    assert "pip install '.[export]'" in wanting.stderr
    assert "Traceback" not in wanting.stderr


BLOCKER = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


def python(code: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER.format(blocked=set(blocked)) + code],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_the_run_time_needs_no_torch(tiny_onnx: Path) -> None:
    code = f"""
import numpy, hat_deploy
with hat_deploy.Upscaler({str(tiny_onnx)!r}) as upscaler:
    print(upscaler.upscale(numpy.zeros((5, 6, 3), 'uint8')).shape)
import hat_deploy.folders, hat_deploy.engines.doctor, hat_deploy.metrics
"""
    done = python(code, "torch", "onnx", "onnxscript", "onnx_ir", "safetensors")
    assert done.stdout == "(10, 12, 3)\n", done.stderr


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("hat_deploy.engines.onnxruntime", "onnxruntime", "cpu"),
        ("hat_deploy.engines.torch", "torch", "export"),
        ("hat_deploy.export.to_onnx", "torch", "export"),
        ("hat_deploy.export.to_onnx", "onnx", "export"),
    ],
)
def test_a_missing_extra_is_one_sentence(module: str, library: str, extra: str) -> None:
    code = f"""
from hat_deploy.errors import MissingExtraError
try:
    import {module}
except MissingExtraError as error:
    print(error)
"""
    done = python(code, library)
    assert f"needs {library}" in done.stdout, done.stderr
    assert f"'.[{extra}]'" in done.stdout


def test_doctor_names_what_is_missing() -> None:
    code = "from hat_deploy.engines import doctor\nfor f in doctor.examine(): print(f)"
    done = python(code, "onnxruntime")
    assert "onnxruntime is not installed: run pip install '.[cpu]'" in done.stdout


@pytest.mark.parametrize("name", ["demo.txt", "dev.txt"])
def test_what_make_installs_has_a_hash_and_the_version_of_the_constraints(name: str) -> None:
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M)
    versions = {project.lower().replace("_", "-"): version for project, version in pinned}
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    locked = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(locked) > 30
    for line in locked:
        assert "--hash=sha256:" in line
        project, version = line.split()[0].split("==")
        assert versions[project] == version
