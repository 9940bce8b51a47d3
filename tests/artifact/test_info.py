from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from tiny import save_tensors, tiny_config
from typer.testing import CliRunner

from hat_deploy import artifact
from hat_deploy.artifact import halo, info, zoo
from hat_deploy.artifact.info import ArtifactInfo, CheckpointInfo, examine, lines, network_cost
from hat_deploy.artifact.zoo import ShippedModel
from hat_deploy.cli import app
from hat_deploy.errors import ArtifactError, CheckpointError, MissingExtraError, UsageError
from hat_deploy.files import sha256
from hat_deploy.networks.hat.config import VARIANTS
from hat_deploy.networks.hat.network import HAT


def test_a_checkpoint_is_its_config_and_its_cost(tiny_checkpoint: Path, tiny_network: HAT) -> None:
    found = examine(str(tiny_checkpoint))
    assert isinstance(found, CheckpointInfo)
    assert found.config == tiny_config()
    assert found.sha256 == sha256(tiny_checkpoint)
    assert found.cost.parameters == sum(p.numel() for p in tiny_network.parameters())
    assert list(found.cost.memory) == [(64, 64), (128, 128), (256, 256)]


@pytest.mark.parametrize("wrapper", ["params_ema", "params", None])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_it_says_which_weights_are_used_and_what_they_are_stored_as(
    tmp_path: Path, tiny_network: HAT, wrapper: str | None, dtype: torch.dtype
) -> None:
    weights = {name: x.to(dtype) for name, x in tiny_network.state_dict().items()}
    path = save_tensors(weights, tmp_path / "w.pth", wrapper=wrapper)
    found = examine(str(path))
    name = str(dtype).removeprefix("torch.")
    place = wrapper or "at the file's top level"
    assert f"weights     {place}, stored as {name}; read as float32" in lines(found)
    assert found.to_dict()["weights"] == wrapper
    assert found.to_dict()["dtypes"] == [name]


def test_of_two_sets_of_weights_the_averaged_ones_are_named(
    tmp_path: Path, tiny_network: HAT
) -> None:
    weights = tiny_network.state_dict()
    torch.save({"params": weights, "params_ema": weights}, tmp_path / "w.pth")
    assert "weights     params_ema, stored as float32; read as float32" in lines(
        examine(str(tmp_path / "w.pth"))
    )


def test_a_shipped_models_types_are_read_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = examine(zoo.DEFAULT)
    assert isinstance(found, CheckpointInfo)
    assert found.dtypes == ("float32",)


@pytest.mark.parametrize(
    ("variant", "parameters", "multi_adds"), [("HAT", 20.8e6, 103.7e9), ("HAT-S", 9.6e6, 54.9e9)]
)
def test_the_cost_is_that_of_the_paper(variant: str, parameters: float, multi_adds: float) -> None:
    found = network_cost(VARIANTS[variant], ())
    assert found.parameters == pytest.approx(parameters, rel=0.01)
    assert found.multi_adds == pytest.approx(multi_adds, rel=0.01)
    assert found.side == 64
    assert found.multi_adds_per_megapixel == pytest.approx(multi_adds * 1e6 / 64**2, rel=0.01)


def test_windows_that_do_not_divide_64_are_counted_at_the_next_size() -> None:
    assert network_cost(replace(tiny_config(), window_size=12, overlap_size=18), ()).side == 72


def test_an_onnx_file_is_its_description_and_its_graph(tiny_onnx: Path) -> None:
    found = examine(str(tiny_onnx))
    assert isinstance(found, ArtifactInfo)
    assert found.description == artifact.describe(tiny_onnx)
    graph = found.graph
    assert graph is not None
    model = onnx.load(tiny_onnx)
    assert graph.ops == Counter(node.op_type for node in model.graph.node)
    assert list(graph.ops.values()) == sorted(graph.ops.values(), reverse=True)
    assert graph.inputs == {"input": "float32 [2, 3, 24, 16]"}
    assert graph.outputs == {"output": "float32 [2, 3, 48, 32]"}
    assert graph.opset["ai.onnx"] == 20


def test_constants_are_listed_by_size(tiny_onnx: Path) -> None:
    constants = info.read_graph(tiny_onnx).constants
    assert constants[0].shape == (256, 64, 3, 3)
    assert constants[0].bytes == 256 * 64 * 9 * 4
    sizes = [constant.bytes for constant in constants]
    assert sizes == sorted(sizes, reverse=True)
    assert 0.8 < sum(sizes) / tiny_onnx.stat().st_size < 1


def test_the_halo_raises_what_a_kept_pixel_costs(tiny_onnx: Path) -> None:
    found = examine(str(tiny_onnx))
    assert isinstance(found, ArtifactInfo)
    assert found.description.halo == 4
    wasted = 24 * 16 / (16 * 8)
    assert found.multi_adds_per_kept_megapixel == pytest.approx(
        wasted * found.cost.multi_adds_per_megapixel, rel=0.01
    )


def test_the_halo_has_a_reason(tiny_onnx: Path) -> None:
    found = examine(str(tiny_onnx))
    assert isinstance(found, ArtifactInfo)
    described = replace(found.description, tile=(256, 256), window=16, halo=16)
    texts = {
        size: halo.reason(replace(described, halo=size, averages=averages))
        for size, averages in ((16, None), (8, None), (32, (2, 12)), (0, None))
    }
    assert texts[16].startswith("16, the default, one window: with random weights")
    assert "at about 60 dB or more, with a halo of 8 at 53;" in texts[16]
    assert texts[8].startswith("8, as asked for (the default for this tile is 16)")
    assert texts[32].startswith("32, the default of exact tiles, two windows")
    assert texts[0] == "0, as asked for (the default for this tile is 16)"
    odd = halo.reason(replace(described, tile=(259, 259), window=7, halo=7))
    assert "61 dB or more; verify" in odd
    small = replace(described, tile=(48, 48), halo=8)
    assert halo.reason(small).startswith("8, the default for a tile this small")
    assert halo.computed(described) == 45 * 256**2 / (1920 * 1080)
    assert found.to_dict()["halo_reason"] == halo.reason(found.description)


def test_the_context_that_is_missing_counts_by_seams() -> None:
    """Against benchmarks/exact.py --random: 52.2 dB at 64/16."""
    assert halo.expected((64, 64), 16, 16) == pytest.approx(52.2, abs=1)
    assert halo.expected((256, 256), 16, 16) == pytest.approx(60, abs=0.5)


def test_without_onnx_the_description_is_still_there(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = examine(str(tiny_onnx))
    assert isinstance(found, ArtifactInfo)
    assert found.graph is None
    assert "pip install '.[export]'" in (found.missing or "")
    text = "\n".join(lines(found))
    assert "tile 24x16 (height x width), batch 2, default halo 4" in text
    assert "needs onnx" in text


def test_a_plan_is_its_description_and_its_size(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = replace(artifact.describe(tiny_onnx), precision="fp16", targets=("sm89",))
    monkeypatch.setattr(artifact, "describe", lambda path: description)
    plan = tmp_path / "x.plan"
    plan.write_bytes(b"plan" * 100)
    found = examine(str(plan))
    assert found.bytes == plan.stat().st_size
    assert found.to_dict()["kind"] == "plan"
    text = "\n".join(lines(found))
    assert "built for   sm89" in text
    assert "launches    unknown" in text
    assert found.to_dict()["programs"] is None
    assert "operators" not in text


def ship(folder: Path, config: dict[str, object]) -> ShippedModel:
    model = ShippedModel(folder / "tiny")
    model.folder.mkdir()
    (model.folder / "config.json").write_text(json.dumps(config))
    model.checkpoint.write_bytes(b"weights")
    return model


def test_a_shipped_models_name_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ship(tmp_path, tiny_config().to_dict())
    monkeypatch.setattr(zoo, "shipped", lambda: [model])
    monkeypatch.setitem(sys.modules, "torch", None)  # its config is told, not read off weights
    found = examine("tiny")
    assert found.path == model.checkpoint
    assert found.config == tiny_config()


def test_what_is_no_file_of_ours_is_one_sentence(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(CheckpointError, match="text file"):
        examine(str(text))
    with pytest.raises(UsageError, match="there is no checkpoint"):
        examine(str(tmp_path / "missing.pth"))
    with pytest.raises(UsageError, match="neither a file nor a model"):
        examine("missing")
    with pytest.raises(UsageError, match="folder"):
        examine(str(tmp_path))
    with pytest.raises(ArtifactError, match="not a file"):
        examine(str(tmp_path / "missing.onnx"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"\.\[export\]"):
        examine(str(tiny_checkpoint))


def test_a_file_that_is_truncated_is_one_sentence(tiny_onnx: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny_onnx.read_bytes()[:-1000])
    with pytest.raises(ArtifactError, match="export it again"):
        examine(str(cut))
    with pytest.raises(ArtifactError, match="not a whole ONNX file"):
        info.read_graph(cut)


def test_the_command_prints_json(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    for path, kind in ((tiny_onnx, "onnx"), (tiny_checkpoint, "checkpoint")):
        result = CliRunner().invoke(app, ["info", str(path), "--json"])
        assert result.exit_code == 0, result.output
        content = json.loads(result.stdout)
        assert content["kind"] == kind
        assert content["variant"] == "custom"
        assert content["cost"]["memory"][0]["total"] > 0


def test_the_command_prints_text(tiny_checkpoint: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(tiny_checkpoint)])
    assert result.exit_code == 0, result.output
    assert "multi-adds  0.7 G at 64x64, 0.18 T per LR megapixel" in result.stdout
    assert "within 0.6% of the paper's figures" in result.stdout
    unstored = "not stored  conv_scale 0.01, img_range 1, qk_scale 1 / sqrt(channels of a head)"
    assert unstored in result.stdout
    assert "--no-shift" in result.stdout


def test_an_onnx_file_is_described_with_nothing_heavy_loaded(tiny_onnx: Path) -> None:
    code = (
        "import sys; from hat_deploy.artifact.info import examine; "
        "sys.modules['onnx'] = None; examine(sys.argv[1]); "
        "print([m for m in ('torch', 'cv2', 'onnxruntime') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tiny_onnx)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


_OPEN_AND_RUN = """
import sys
from pathlib import Path
from hat_deploy.bench.memory import random_batch
from hat_deploy.engines import open_artifact
engine = open_artifact(Path(sys.argv[1]), backend=sys.argv[2], threads=1)
engine.run(random_batch(engine.input))
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what a process has used")
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_memory_of_a_process_is_about_what_is_foretold(backend: str) -> None:
    pytest.importorskip(backend)
    shipped = zoo.find(zoo.DEFAULT)
    found = examine(str(shipped.onnx))
    command = [sys.executable, "-c", _OPEN_AND_RUN, shipped.onnx, backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    foretold = found.cost.processes[256, 256][backend]
    assert foretold == pytest.approx(int(done.stdout) * 1024, rel=0.25)
    assert f"{foretold / 1e6:,.0f} MB" in "\n".join(lines(found))
