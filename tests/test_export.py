from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import picture, random_network, tiny_config

from hat_deploy import export
from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.export import ExportOptions, ExportReport, export_onnx
from hat_deploy.hat.network import HAT


def export_tiny(network: HAT, path: Path, **options: object) -> ExportReport:
    return export_onnx(
        network,
        path,
        ExportOptions(**{"tile": (8, 8)} | options),
        model="tiny",
        checkpoint_sha256="",
    )


def test_the_file_computes_what_the_network_computes(
    tiny_network: HAT, tiny_report: ExportReport
) -> None:
    x = picture(24, 16, batch=2, seed=5)
    with torch.inference_mode():
        expected = tiny_network(x).numpy()
    with OnnxRuntimeEngine(tiny_report.path) as engine:
        assert np.abs(engine.run(x.numpy()) - expected).max() <= 1e-5
    assert tiny_report.proved_at_full_size
    assert tiny_report.proof.max_abs <= 1e-5


def test_the_graph_holds_no_op_that_engines_stumble_over(tiny_onnx: Path) -> None:
    ops = Counter(node.op_type for node in onnx.load(tiny_onnx).graph.node)
    assert not {"Loop", "If", "Scan", "Col2Im", "Shape", "SequenceAt", "ScatterND"} & set(ops)
    # Two groups, each of a plain block, a shifted one in four regions, and OCAB.
    assert ops["Softmax"] == 2 * (1 + 4 + 1)


def test_shapes_are_fixed(tiny_onnx: Path) -> None:
    graph = onnx.load(tiny_onnx).graph
    shapes = [
        [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    ]
    assert shapes == [[2, 3, 24, 16], [2, 3, 48, 32]]


def test_the_file_names_no_path_of_the_machine_that_made_it(tiny_onnx: Path) -> None:
    assert b".py" not in tiny_onnx.read_bytes()


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("scale", [3, 4])
def test_scales_and_opsets(tmp_path: Path, opset: int, scale: int) -> None:
    report = export_tiny(random_network(tiny_config(scale)), tmp_path / "x.onnx", opset=opset)
    assert report.proof.max_abs <= 1e-5
    assert onnx.load(report.path).opset_import[0].version == opset


@pytest.mark.parametrize(
    "ablation", [{"ocab": False}, {"cab": False}, {"channel_attention": False}, {"in_channels": 1}]
)
def test_ablations_and_gray(tmp_path: Path, ablation: dict[str, object]) -> None:
    report = export_tiny(random_network(tiny_config(**ablation)), tmp_path / "x.onnx")
    assert report.proof.max_abs <= 1e-5


def test_a_wrong_graph_leaves_no_file(
    tmp_path: Path, tiny_network: HAT, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = export.write

    def damaged(network: HAT, path: Path, *rest: object) -> None:
        written(network, path, *rest)
        model = onnx.load(path)
        weight = next(w for w in model.graph.initializer if list(w.dims) == [3, 64, 3, 3])
        values = onnx.numpy_helper.to_array(weight).copy()
        values[0, 0, 1, 1] += 0.01
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, path)

    monkeypatch.setattr(export, "write", damaged)
    with pytest.raises(CheckFailed, match="differs from PyTorch"):
        export_tiny(tiny_network, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_survives_a_failed_export(tmp_path: Path) -> None:
    network = random_network(tiny_config())
    with torch.no_grad():
        network.conv_last.weight.fill_(float("inf"))
    path = tmp_path / "x.onnx"
    path.write_bytes(b"earlier")
    with pytest.raises(CheckFailed, match="network itself"):
        export_tiny(network, path)
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["x.onnx"]


def test_an_expensive_export_is_proved_by_a_sibling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_network: HAT
) -> None:
    monkeypatch.setattr(export, "CHEAP_MULTI_ADDS", 0)
    report = export_tiny(tiny_network, tmp_path / "x.onnx")
    assert report.proof_tile == (64, 64)
    assert not report.proved_at_full_size


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tile": (10, 8)}, "use 12"),
        ({"batch": 0}, "batch is 0"),
        ({"opset": 9}, "opset 9"),
        ({"tile": (16, 16), "halo": 3}, "fitting halos"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(
    tmp_path: Path, tiny_network: HAT, options: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        export_tiny(tiny_network, tmp_path / "x.onnx", **options)
