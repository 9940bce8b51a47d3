"""The whole way, on a tiny network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from hat_deploy.bench.lineup import for_engine
from hat_deploy.bench.measure import measure
from hat_deploy.bench.report import Report
from hat_deploy.bench.scopes import Scope
from hat_deploy.bench.timing import Settings
from hat_deploy.cli import app
from hat_deploy.engines import doctor
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.files import sha256

ROOT = Path(__file__).parents[2]
SHORT = ["--iterations", "2", "--seconds", "0", "--warmup", "1", "--threads", "1"]
SHORTEST = [*SHORT, "--scope", "call", "--no-memory"]


@pytest.fixture(scope="module")
def found(tiny_onnx: Path, tiny_checkpoint: Path) -> Report:
    return measure(
        for_engine(tiny_onnx, reference=str(tiny_checkpoint)),
        Settings(iterations=3, seconds=0, warmup=1),
        threads=1,
    )


@pytest.mark.slow
def test_all_scopes_are_timed_side_by_side(found: Report) -> None:
    assert [scope.scope for scope in found.scopes] == list(Scope)
    for scope in found.scopes:
        reference, engine = scope.results
        assert len(reference.seconds.values) == len(engine.seconds.values) == 3
        assert reference.ratio is None
        assert engine.ratio is not None
        assert engine.ratio.values[0] == engine.seconds.values[0] / reference.seconds.values[0]
        assert engine.ceiling_share > 0


def test_what_was_measured_is_recorded(found: Report, tiny_onnx: Path) -> None:
    engine = found.participants[1]
    assert engine.sha256 == sha256(tiny_onnx)
    assert "openvino" in engine.engine
    assert found.versions["openvino"]
    assert found.threads == 1
    assert any("only 3 iterations" in flag for flag in found.flags)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_peak_memory_is_that_of_one_engine(found: Report) -> None:
    reference, engine = (p.memory for p in found.participants)
    assert reference is not None
    assert engine is not None
    # A process with PyTorch in it takes a hundred megabytes more than one without.
    assert reference.host_peak > engine.host_peak + 5e7
    assert 1e7 < engine.host_before < engine.host_peak


@pytest.mark.slow
def test_the_command_prints_json_and_nothing_else(tiny_onnx: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    options = ["--json", "--plot", str(plot), "--max-ratio", "1000"]
    result = CliRunner().invoke(app, ["bench", "--engine", str(tiny_onnx), *SHORTEST, *options])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert [scope["scope"] for scope in content["scopes"]] == ["engine call"]
    assert [c["label"] for c in content["contenders"]] == ["reference", "engine"]
    assert content["contenders"][0]["file"] is None
    assert "seeded random weights" in content["notes"][0]
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")


@pytest.mark.slow
def test_too_slow_an_engine_fails_after_its_figures_are_shown(tiny_onnx: Path) -> None:
    options = ["--max-ratio", "0.001"]
    result = CliRunner().invoke(app, ["bench", "--engine", str(tiny_onnx), *SHORTEST, *options])
    assert isinstance(result.exception, CheckFailed)
    assert result.exception.exit_code == 1
    assert "median ms" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--max-ratio", "1"],
        ["--reference", "x.pth"],
        ["--no-reference"],
        ["--engine", "x.onnx", "--model", "x"],
        ["--plot", "x.png"],
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str]) -> None:
    assert isinstance(CliRunner().invoke(app, ["bench", *options]).exception, UsageError)


def test_nothing_to_hold_a_limit_against(tiny_onnx: Path) -> None:
    options = ["--engine", str(tiny_onnx), "--no-reference", "--max-ratio", "1"]
    result = CliRunner().invoke(app, ["bench", *options])
    assert isinstance(result.exception, UsageError)
    assert "compare" in str(result.exception)


@pytest.mark.slow
def test_an_artifact_is_timed_where_there_is_no_torch(tiny_onnx: Path, tmp_path: Path) -> None:
    message = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    (tmp_path / "torch.py").write_text(message)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", "from hat_deploy.cli import main; main()", "bench"]
    options = ["--engine", str(tiny_onnx), *SHORT, "--json"]
    done = subprocess.run(
        [*command, *options], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert [c["label"] for c in content["contenders"]] == ["engine"]
    assert "pip install '.[export]'" in content["notes"][0]
    assert content["ceilings"][0]["library"].startswith(("numpy", "openvino"))
    assert content["scopes"][0]["results"][0]["ratio"] is None


def openvino_precisions() -> list[str]:
    findings = {finding.engine: finding.usable for finding in doctor.examine()}
    return [p for p in ("fp32", "bf16") if findings[f"openvino, cpu, {p}"]]


@pytest.mark.slowest
def test_the_benchmark_of_the_readme_runs(tmp_path: Path) -> None:
    """In a process of its own, for its modules are no package."""
    code = (
        "import cpu, sys; from tiny import tiny_config; "
        "cpu.NETWORKS = {'tiny': tiny_config()}; cpu.main(sys.argv[1:])"
    )
    paths = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]
    options = ["--only", "tiny", "--iterations", "1", "--seconds", "0", "--threads", "1"]
    subprocess.run(
        [sys.executable, "-c", code, *options, "--results", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    content = json.loads((tmp_path / "cpu.json").read_text())["tiny"]
    assert [c["label"] for c in content["contenders"]] == [
        *("torch", "onnxruntime"),
        *(f"openvino {precision}" for precision in openvino_precisions()),
        "spandrel",
    ]
    assert len(content["scopes"]) == 3
    assert str(tmp_path) not in json.dumps(content)
    assert (tmp_path / "cpu.md").read_text().count("| spandrel |") == 3
