from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import random_network, tiny_config

from hat_deploy.artifact import zoo
from hat_deploy.artifact.zoo import ShippedModel
from hat_deploy.bench.contenders import of_artifact, of_network
from hat_deploy.bench.lineup import for_engine, for_machine
from hat_deploy.bench.memory import random_batch
from hat_deploy.engines import doctor
from hat_deploy.engines.doctor import Finding
from hat_deploy.errors import ArtifactError, CheckpointError, MissingExtraError, UsageError
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.files import sha256
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.hat.network import HAT


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "hat_deploy.engines.torch", raising=False)


Exported = Callable[..., ExportReport]


def export_of(exported: Exported, network: HAT, checkpoint: Path) -> Path:
    return exported(network, tile=(8, 8), checkpoint_sha256=sha256(checkpoint)).path


@pytest.mark.slow
def test_the_reference_has_the_artifacts_shape_and_weights(
    tiny_network: HAT, tiny_checkpoint: Path, exported: Exported
) -> None:
    onnx = export_of(exported, tiny_network, tiny_checkpoint)
    found = for_engine(onnx, reference=str(tiny_checkpoint))
    assert [c.label for c in found.contenders] == ["reference", "engine"]
    assert (found.baseline, found.subject, found.notes) == ("reference", "engine", ())
    with found.contenders[0].open(1) as reference, found.contenders[1].open(1) as engine:
        batch = random_batch(engine.input)
        assert np.abs(reference.run(batch) - engine.run(batch)).max() < 1e-4


def test_without_a_checkpoint_the_weights_are_seeded_and_the_notes_say_so(tiny_onnx: Path) -> None:
    found = for_engine(tiny_onnx)
    assert "seeded random weights" in found.notes[0]
    with found.contenders[0].open(1) as first, found.contenders[0].open(1) as second:
        batch = random_batch(first.input)
        assert batch.shape == (2, 3, 24, 16)
        assert np.array_equal(first.run(batch), second.run(batch))


def test_other_weights_than_the_artifacts_are_noted(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    assert "other weights" in for_engine(tiny_onnx, reference=str(tiny_checkpoint)).notes[0]


def test_a_checkpoint_of_another_shape_cannot_be_the_reference(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    path = tmp_path / "wide.pth"
    save_checkpoint(random_network(tiny_config(embed_dim=16)), path)
    with pytest.raises(CheckpointError, match="shape"):
        for_engine(tiny_onnx, reference=str(path)).contenders[0].open(1)


def test_the_reference_may_compute_in_half_precision(tiny_onnx: Path) -> None:
    found = for_engine(tiny_onnx, reference_precision="bf16")
    assert found.contenders[0].precision == "bf16"
    with found.contenders[0].open(1) as engine:
        assert "bf16" in engine.name


def test_ratios_refer_to_the_first_other_artifact_where_there_is_no_reference(
    tiny_onnx: Path,
) -> None:
    found = for_engine(tiny_onnx, against=[tiny_onnx], with_reference=False)
    assert found.baseline == "against 1"
    assert "ratios refer to" in found.notes[0]
    assert for_engine(tiny_onnx, with_reference=False).baseline is None


@pytest.mark.usefixtures("no_torch")
def test_without_torch_an_artifact_is_timed_alone(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    found = for_engine(tiny_onnx)
    assert [c.label for c in found.contenders] == ["engine"]
    assert found.baseline is None
    assert "without a reference" in found.notes[0]
    with pytest.raises(MissingExtraError, match=r"\.\[export\]"):
        for_engine(tiny_onnx, reference=str(tiny_checkpoint))


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused(
    tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path, exported: Exported
) -> None:
    other = exported(random_network(tiny_config(3)), tile=(16, 16)).path
    with pytest.raises(UsageError, match="scale 2 and 3"):
        for_engine(tiny_onnx, against=[other])
    with pytest.raises(UsageError, match="no checkpoint"):
        for_engine(tiny_onnx, reference=str(tmp_path / "nothing.pth"))
    with pytest.raises(UsageError, match="left out at once"):
        for_engine(tiny_onnx, reference="x", with_reference=False)
    with pytest.raises(ArtifactError, match="suffix"):
        for_engine(tiny_checkpoint)


def test_a_plan_runs_on_cuda_and_takes_its_reference_along(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = of_artifact(tiny_onnx, label="x")
    from hat_deploy import artifact

    description = artifact.describe(tiny_onnx)
    monkeypatch.setattr(artifact, "describe", lambda path: description)
    plan = of_artifact(Path("x.plan"), label="engine")
    assert (described.device, plan.device) == ("cpu", "cuda")
    assert replace(plan, precision="fp16-pure").arithmetic == "fp16"
    assert of_network(plan, label="reference", checkpoint=None).device == "cuda"


def shipped(network: HAT, artifact: Path, folder: Path) -> ShippedModel:
    model = ShippedModel(folder / "tiny")
    model.folder.mkdir()
    (model.folder / "README.md").write_text("# tiny\n\nA model.\n")
    save_checkpoint(network, model.checkpoint)
    shutil.copy(artifact, model.onnx)
    return model


@pytest.mark.slow
def test_every_engine_of_this_machine_runs_the_shipped_model(
    tiny_network: HAT,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Exported,
) -> None:
    artifact = export_of(exported, tiny_network, tiny_checkpoint)
    model = shipped(tiny_network, artifact, tmp_path)
    monkeypatch.setattr(zoo, "shipped", lambda: [model])
    names = ["torch, cpu", "torch, cuda", "openvino, cpu, fp32", "onnxruntime, cpu"]
    usable = {"torch, cpu", "openvino, cpu, fp32", "onnxruntime, cpu"}
    findings = [Finding(name, name in usable, "") for name in names]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    found = for_machine("tiny", halo=0)
    assert [c.label for c in found.contenders] == [
        "torch cpu fp32",
        "torch cpu bf16",
        "onnxruntime cpu",
        "openvino cpu fp32",
    ]
    assert found.baseline == "torch cpu fp32"
    assert {c.halo for c in found.contenders} == {0}
    for contender in found.contenders:
        with contender.open(1) as engine:
            assert engine.run(random_batch(engine.input)).shape == (1, 3, 16, 16)

    monkeypatch.setattr(doctor, "examine", lambda: [])
    with pytest.raises(MissingExtraError, match="onnxruntime"):
        for_machine("tiny")
