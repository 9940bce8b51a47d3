"""What of ``make bench-gpu`` needs no GPU."""

from __future__ import annotations

import importlib
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
import gpu, gpu_state

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
state = gpu_state.summary(
    "1980, 3201, 650.5, 60, 0x0000000000000000\\n1200, 3201, [N/A], 70, 0x0000000000000004\\n[x]"
)
entry = {"latency": [latency], "fidelity": quality, "absent": {"c": "no room"}, "table": "| t |",
         "gpu": state}
results = Path(sys.argv[1]) / "gpu.json"
first = gpu.merged(results, "one", entry)
gpu.write(results, json.dumps(first))
both = gpu.merged(results, "two", entry)
assert list(both) == ["one", "two"]
assert list(gpu.merged(results, "one", {})) == ["one"]
text = gpu.markdown(both)
for part in ("**one**", "**two**", "a 55.5, b exact", "absent: c: no room", "flag: restless",
             "NVIDIA L4 (driver 580); torch 2.11", "SM clock MHz 1200 to 1980, median 1590",
             "power W 650 to 650", "throttled in 50% of the answers (0x4)"):
    assert part in text, part
"""

TOGETHER = """
import sys
from pathlib import Path
import gpu
from hat_deploy.bench.contenders import of_artifact
from hat_deploy.bench.measure import measure
from hat_deploy.bench.scopes import Scope
from hat_deploy.bench.timing import Settings

found = [of_artifact(Path(sys.argv[2]), label=label) for label in "abc"]
settings = Settings(iterations=1, seconds=0, warmup=1, pause=0, untimed=1)
reports = [
    measure(lineup, settings, scopes=(Scope.CALL, Scope.TILES), batches=gpu.BATCHES, threads=1,
            memory=False)
    for lineup in gpu.pairs(found)
]
tiles = reports[0].scopes[1].results[0].work.tiles
assert tiles == gpu.BATCHES * found[0].batch == 16, tiles
call, loop = gpu.tables(reports)
assert [line.split("|")[1].strip() for line in call.splitlines()[4:]] == ["a", "b", "c"], call
assert call.startswith("engine call:") and loop.startswith("tile loop:")
assert [c.label for c in gpu.pairs(found[:1])[0].contenders] == ["a"]
"""

CONTENDERS = """
import sys
from pathlib import Path
import gpu, gpu_contenders
from tiny import random_network, tiny_config
from hat_deploy.networks.checkpoint import save_checkpoint

folder = Path(sys.argv[1])
network = random_network(tiny_config(depths=(1,)))
save_checkpoint(network, folder / "tiny.pth")
found, absent = gpu_contenders.contenders(network, folder, "tiny", (8, 8), 2, print)
labels = [contender.label for contender in found]
assert labels[0] == "torch fp16", labels
assert {"torch fp32", "torch bf16", "spandrel fp32", "spandrel fp16", "torch fp16 padded, pinned",
        "torch.compile fp16", "torch.compile fp16 max-autotune", "onnxruntime fp32",
        "onnxruntime fp16", "onnxruntime fp16 bytes"} == set(labels[1:]), labels
plans = {"TensorRT fp16", "TensorRT fp16 bytes"}
assert absent == dict.fromkeys(plans, "there is none here that builds for this GPU")
lineups = gpu.pairs(found)
assert [[c.label for c in lineup.contenders] for lineup in lineups] == [
    ["torch fp16", label] for label in labels[1:]
]
assert all((c.device, c.batch, c.tile) == ("cuda", 2, (8, 8)) for c in found)
assert sorted(path.name for path in folder.glob("*.onnx")) == [
    f"tiny-8x8-2-{kind}.onnx" for kind in (
        "fp16-float-any", "fp16-uint8-any", "fp32-float-any",
    )
]
running = gpu_contenders.those_that_run(found, absent, print)
assert running == []
assert set(absent) == plans | set(labels)
assert all(absent.values())
"""


def run(code: str, folder: Path, *more: Path) -> subprocess.CompletedProcess[str]:
    paths = [ROOT / "benchmarks", ROOT, ROOT / "tests"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-c", code, folder, *more], env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_what_is_measured_and_how_it_is_written(tmp_path: Path) -> None:
    done = run(PURE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(json.loads((tmp_path / "gpu.json").read_text())) == ["one"]


@pytest.mark.slow
def test_each_is_timed_beside_the_first_and_all_are_in_one_table(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    done = run(TOGETHER, tmp_path, tiny_onnx)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
def test_clocks_are_recorded_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, told = tmp_path / "nvidia-smi", tmp_path / "told"
    script = f'echo "1980, 3201, 600, 60, 0x4"; echo "$*" > {told}; exec sleep 600'
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    gpu_state = importlib.import_module("gpu_state")
    with gpu_state.watched("00000000:65:00.0") as found:
        while not told.is_file() or not told.read_text().endswith("\n"):
            pass
    assert found["SM clock MHz"] == {"least": 1980, "median": 1980, "largest": 1980}
    assert (found["throttled"], found["reasons"]) == (1.0, ["0x4"])
    assert "--id=00000000:65:00.0" in told.read_text()
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with gpu_state.watched(None) as nothing:
        pass
    assert "gives no answer" in gpu_state.line(nothing)


@pytest.mark.slow
@pytest.mark.skipif(local_gpu() is not None, reason="this machine has a GPU")
def test_contenders_that_cannot_run_are_named_with_the_reason(tmp_path: Path) -> None:
    done = run(CONTENDERS, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(local_gpu() is not None, reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    done = run(f"import gpu; gpu.main(['--results', {str(tmp_path)!r}])", tmp_path)
    assert done.returncode == 1
    assert "there is no GPU" in done.stderr
    assert list(tmp_path.iterdir()) == []
