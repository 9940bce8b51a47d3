"""What of ``make bench-gpu`` needs no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hat_deploy.engines.cuda.driver import local_gpu

ROOT = Path(__file__).parents[2]

PURE = """
import json, sys
from pathlib import Path
import gpu

runs = list(gpu.plan(["HAT-S", "HAT"], [64, 256], 4 * 256 * 256))
assert [(r.network, r.side, r.batch) for r in runs] == [
    ("HAT-S", 64, 1), ("HAT-S", 64, 64), ("HAT-S", 256, 1), ("HAT-S", 256, 4),
    ("HAT", 64, 1), ("HAT", 64, 64), ("HAT", 256, 1), ("HAT", 256, 4),
]
assert [r.batch for r in gpu.plan(["HAT"], [64], 100)] == [1]
assert runs[1].key == "HAT-S x4, 64x64, batch 64"
assert gpu.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"

latency = {
    "flags": ["restless"],
    "versions": {"torch": "2.11"},
    "hardware": {"gpus": [{"name": "NVIDIA L4", "driver": "580"}]},
}
quality = {"a": {"x": {"psnr": 60.0}, "y": {"psnr": 55.5}}, "b": {"x": {"psnr": None}}}
entry = {"latency": latency, "fidelity": quality, "absent": {"c": "no room"}, "table": "| t |"}
results = Path(sys.argv[1]) / "gpu.json"
first = gpu.merged(results, "one", entry)
gpu.write(results, json.dumps(first))
both = gpu.merged(results, "two", entry)
assert list(both) == ["one", "two"]
assert list(gpu.merged(results, "one", {})) == ["one"]
text = gpu.markdown(both)
for part in ("**one**", "**two**", "a 55.5, b exact", "absent: c: no room", "flag: restless",
             "NVIDIA L4 (driver 580); torch 2.11"):
    assert part in text, part
"""

CONTENDERS = """
import sys
from pathlib import Path
import gpu_contenders
from tiny import random_network, tiny_config
from hat_deploy.networks.checkpoint import save_checkpoint

folder = Path(sys.argv[1])
network = random_network(tiny_config(depths=(1,)))
save_checkpoint(network, folder / "tiny.pth")
found, absent = gpu_contenders.contenders(network, folder, "tiny", (8, 8), 2, print)
labels = [contender.label for contender in found]
assert labels[0] == "torch fp16", labels
assert {"torch fp32", "torch bf16", "spandrel fp32", "spandrel fp16", "torch.compile fp16",
        "onnxruntime fp32", "onnxruntime fp16"} == set(labels[1:]), labels
assert absent == {"TensorRT fp16": "there is none here that builds for this GPU"}
assert all((c.device, c.batch, c.tile) == ("cuda", 2, (8, 8)) for c in found)
assert sorted(path.name for path in folder.glob("*.onnx")) == [
    "tiny-8x8-2-fp16.onnx", "tiny-8x8-2-fp32.onnx"
]
running = gpu_contenders.those_that_run(found, absent, print)
assert running == []
assert set(absent) == {"TensorRT fp16", *labels}
assert all(absent.values())
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [ROOT / "benchmarks", ROOT, ROOT / "tests"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_what_is_measured_and_how_it_is_written(tmp_path: Path) -> None:
    done = run(PURE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(json.loads((tmp_path / "gpu.json").read_text())) == ["one"]


@pytest.mark.slow
@pytest.mark.skipif(local_gpu() is not None, reason="this machine has a GPU")
def test_contenders_that_cannot_run_are_named_with_the_reason(tmp_path: Path) -> None:
    done = run(CONTENDERS, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(local_gpu() is not None, reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    done = run(f"import gpu; gpu.main(['--results', {str(tmp_path)!r}])", tmp_path)
    assert done.returncode == 1
    assert "there is no GPU" in done.stderr
    assert list(tmp_path.iterdir()) == []
