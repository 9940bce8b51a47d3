from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import amplified, picture, random_network, tiny_config, with_constant_scores

from hat_deploy import Upscaler
from hat_deploy.artifact import Description
from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine
from hat_deploy.errors import CheckFailed, PictureError, UsageError
from hat_deploy.export import to_onnx
from hat_deploy.export.to_onnx import ExportOptions, ExportReport, export_onnx
from hat_deploy.networks.hat.islands import convert
from hat_deploy.networks.hat.network import HAT

TILE = (16, 16)
"""Of the exports that other tests share."""
Exported = Callable[..., ExportReport]


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


def test_the_spelling_for_tensorrt_computes_the_same(
    tiny_network: HAT, tiny_report: ExportReport, exported: Exported
) -> None:
    report = exported(tiny_network, tile=(24, 16), batch=2, made_for="tensorrt")
    assert report.description.made_for == "tensorrt"
    assert tiny_report.description.made_for == "any"
    assert report.proof.max_abs <= 1e-5
    graph = onnx.load(report.path).graph
    ops = Counter(node.op_type for node in graph.node)
    assert ops["Softmax"] == 2 * (1 + 1 + 1)
    # Four kinds of window, whatever the tile, and stored once for all blocks.
    marks = [list(tensor.dims) for tensor in graph.initializer if tensor.dims[-2:] == [16, 4]]
    assert marks == [[1, 2, 16, 4]] * 2
    assert report.bytes < 1.02 * tiny_report.bytes


def test_shapes_are_fixed(tiny_onnx: Path) -> None:
    graph = onnx.load(tiny_onnx).graph
    shapes = [
        [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    ]
    assert shapes == [[2, 3, 24, 16], [2, 3, 48, 32]]


def test_the_file_names_no_path_of_the_machine_that_made_it(tiny_onnx: Path) -> None:
    assert b".py" not in tiny_onnx.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("scale", [3, 4])
def test_scales_and_opsets(exported: Exported, opset: int, scale: int) -> None:
    report = exported(random_network(tiny_config(scale)), tile=TILE, opset=opset)
    assert report.proof.max_abs <= 1e-5
    assert onnx.load(report.path).opset_import[0].version == opset


@pytest.mark.slow
@pytest.mark.parametrize(
    "ablation",
    [
        {"ocab": False},
        {"cab": False},
        {"channel_attention": False},
        {"in_channels": 1},
        {"qk_scale": 0.9, "shift": False},
    ],
)
def test_ablations_and_gray(exported: Exported, ablation: dict[str, object]) -> None:
    report = exported(random_network(tiny_config(**ablation)), tile=TILE)
    assert report.proof.max_abs <= 1e-5


@pytest.mark.slow
def test_a_wrong_graph_leaves_no_file(
    tmp_path: Path, shallow_network: HAT, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = to_onnx.write

    def damaged(network: HAT, path: Path, description: Description) -> None:
        written(network, path, description)
        model = onnx.load(path)
        weight = next(w for w in model.graph.initializer if list(w.dims) == [3, 64, 3, 3])
        values = onnx.numpy_helper.to_array(weight).copy()
        values[0, 0, 1, 1] += 0.01
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, path)

    monkeypatch.setattr(to_onnx, "write", damaged)
    with pytest.raises(CheckFailed, match="differs from PyTorch"):
        export_tiny(shallow_network, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_expensive_export_is_proved_by_a_sibling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shallow_network: HAT
) -> None:
    monkeypatch.setattr(to_onnx, "CHEAP_MULTI_ADDS", 0)
    report = export_tiny(shallow_network, tmp_path / "x.onnx")
    assert report.proof_tile == (64, 64)
    assert not report.proved_at_full_size


def test_one_that_no_memory_here_holds_is_tested_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shallow_network: HAT
) -> None:
    monkeypatch.setattr(to_onnx, "CHEAP_MULTI_ADDS", 0)
    monkeypatch.setattr(to_onnx, "PROOF_SIDE", 12)
    monkeypatch.setattr(to_onnx, "available_memory", lambda: 1)
    monkeypatch.setattr(to_onnx, "_run_test", pytest.fail)
    report = export_tiny(shallow_network, tmp_path / "x.onnx")
    assert report.description.self_test is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tile": (10, 8)}, "use 12"),
        ({"batch": 0}, "batch is 0"),
        ({"opset": 9}, "opset 9"),
        ({"opset": 20, "precision": "bf16"}, "use 22 to 22"),
        ({"precision": "int8"}, "use one of fp32"),
        ({"io": "half"}, "use one of float"),
        ({"tile": (16, 16), "halo": 3}, "fitting halos"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(
    tmp_path: Path, tiny_network: HAT, options: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        export_tiny(tiny_network, tmp_path / "x.onnx", **options)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least"), [("fp16", 75), ("bf16", 60), ("fp16-pure", 60)])
def test_half_precision_is_proved_twice(
    exported: Exported, tiny_network: HAT, precision: str, least: float
) -> None:
    report = exported(tiny_network, tile=TILE, precision=precision)
    assert report.arithmetic is not None
    assert report.arithmetic.meets(least) and report.proof.meets(least)
    assert report.description.precision == precision


@pytest.mark.slow
def test_half_precision_is_in_the_graph(exported: Exported, tiny_network: HAT) -> None:
    path = exported(tiny_network, tile=TILE, precision="fp16").path
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    kinds |= {w.name: w.data_type for w in graph.initializer}
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    inputs = {(node.op_type, kinds[node.input[0]]) for node in graph.node}
    assert {("MatMul", half), ("Softmax", half), ("Gelu", half)} <= inputs
    assert {("LayerNormalization", single), ("Conv", single), ("Conv", half)} <= inputs
    assert not {("MatMul", single), ("Softmax", single), ("LayerNormalization", half)} & inputs


@pytest.mark.slow
def test_a_network_beyond_half_precision_is_refused_in_pure_half(tmp_path: Path) -> None:
    network = amplified(tiny_config(), 2.0**18)
    with pytest.raises(CheckFailed, match="use fp16 or bf16"):
        export_tiny(network, tmp_path / "x.onnx", precision="fp16-pure")
    assert list(tmp_path.iterdir()) == []
    assert export_tiny(network, tmp_path / "x.onnx", precision="fp16").proof.meets(60)


def test_attention_scores_beyond_half_precision_are_refused_in_it(tmp_path: Path) -> None:
    """PyTorch's fused attention, and libraries on a CPU, compute scores wider and see nothing."""
    network = with_constant_scores(600)
    fused = convert(network, "fp16")
    with torch.inference_mode():
        assert fused(picture(8, 8)).isfinite().all()
    for precision in ("fp16", "fp16-pure"):
        with pytest.raises(CheckFailed, match=r"exceeds the range of .*; use fp32; no file"):
            export_tiny(network, tmp_path / "scores.onnx", precision=precision)
    assert list(tmp_path.iterdir()) == []


def test_only_precisions_that_were_tried_are_advised(tmp_path: Path) -> None:
    network = random_network(tiny_config())
    block = network.layers[0].residual_group.blocks[0].mlp
    with torch.no_grad():  # beyond fp16 inside, whatever is done about the residual stream
        for parameter in block.fc1.parameters():
            parameter.mul_(2.0**17)
        block.fc2.weight.mul_(2.0**-17)
    network.freeze()
    with pytest.raises(CheckFailed, match="range of fp16-pure; use bf16; no file"):
        export_tiny(network, tmp_path / "x.onnx", precision="fp16-pure")
    with pytest.raises(CheckFailed, match="range of fp16; use bf16; no file"):
        export_tiny(network, tmp_path / "x.onnx", precision="fp16")
    loud = amplified(tiny_config(), 2.0**18)
    with pytest.raises(CheckFailed, match="range of fp16-pure; use fp16 or bf16; no file"):
        export_tiny(loud, tmp_path / "x.onnx", precision="fp16-pure")


@pytest.fixture(scope="module")
def byte_report(shallow_network: HAT, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    path = tmp_path_factory.mktemp("bytes") / "uint8.onnx"
    return export_tiny(shallow_network, path, precision="fp16", io="uint8", batch=2)


@pytest.mark.slow
def test_a_graph_of_bytes_equals_the_rounded_graph_of_floats(
    tmp_path: Path, shallow_network: HAT, byte_report: ExportReport
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (29, 21, 3), np.uint8)
    export_tiny(shallow_network, tmp_path / "float.onnx", precision="fp16", batch=2)
    assert byte_report.proof.meets(60)
    results = []
    for path in (tmp_path / "float.onnx", byte_report.path):
        with Upscaler(path) as upscaler:
            results.append(upscaler.upscale(pixels))
    assert np.array_equal(*results)


def test_a_graph_of_bytes_takes_bytes(byte_report: ExportReport) -> None:
    with OnnxRuntimeEngine(byte_report.path) as engine:
        assert (engine.input.shape, engine.input.layout) == ((2, 8, 8, 3), "NHWC")
        assert engine.input.dtype == engine.output.dtype == "uint8"
    ops = [node.op_type for node in onnx.load(byte_report.path).graph.node]
    assert ops[0] == ops[-1] == "Cast"  # TensorRT can do nothing else with a byte


def test_a_graph_of_bytes_refuses_sixteen_bits(byte_report: ExportReport) -> None:
    with (
        Upscaler(byte_report.path) as upscaler,
        pytest.raises(PictureError, match="--io float"),
    ):
        upscaler.upscale(np.zeros((8, 8, 3), np.uint16))


@pytest.mark.slow
def test_a_large_graph_of_bytes_is_proved_by_siblings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shallow_network: HAT
) -> None:
    monkeypatch.setattr(to_onnx, "CHEAP_MULTI_ADDS", 0)
    monkeypatch.setattr(to_onnx, "PROOF_SIDE", 12)
    report = export_tiny(shallow_network, tmp_path / "x.onnx", io="uint8")
    assert (report.proof_tile, report.description.io) == ((12, 12), "uint8")


def test_a_floor_that_is_asked_for_is_kept(tmp_path: Path, tiny_network: HAT) -> None:
    with pytest.raises(CheckFailed, match="at least 200 was expected"):
        export_tiny(tiny_network, tmp_path / "x.onnx", precision="bf16", min_psnr=200)


@pytest.mark.parametrize(
    ("window", "overlap", "side"), [(4, 0.5, 256), (7, 0.3, 259), (12, 0.5, 264)]
)
def test_without_a_tile_the_default_fits_the_window(window: int, overlap: float, side: int) -> None:
    network = random_network(tiny_config(window_size=window, overlap_ratio=overlap))
    described = to_onnx.describe(network, ExportOptions(), model="tiny", checkpoint_sha256="")
    assert described.tile == (side, side)
    assert described.halo % window == 0


def test_a_report_is_json(exported: Exported, tiny_network: HAT) -> None:
    report = exported(tiny_network, tile=(24, 16), batch=2, made_for="tensorrt")
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["path"] == str(report.path) and told["bytes"] == report.path.stat().st_size
    assert told["description"]["tile"] == told["proof_tile"] == [24, 16]
    assert told["proof"]["psnr"] > 90
