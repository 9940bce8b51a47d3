"""Artifacts made to exhaust, hang or confuse: each is one sentence, and nothing of it is run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from limited import run_limited
from onnx import TensorProto, helper

from hat_deploy import artifact
from hat_deploy.artifact import PLAN_MARKER, describe
from hat_deploy.engines.tensorrt import fit
from hat_deploy.errors import ArtifactError

Model = onnx.ModelProto


def described(model: Model) -> dict[str, Any]:
    (entry,) = model.metadata_props
    values: dict[str, Any] = json.loads(entry.value)
    return values


def with_text(text: str) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        model.metadata_props[0].value = text

    return change


def with_values(**changes: Any) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        model.metadata_props[0].value = json.dumps(described(model) | changes)

    return change


def with_config(**changes: Any) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        values = described(model)
        with_values(config=values["config"] | changes)(model)

    return change


def body() -> onnx.GraphProto:
    """What a loop does: goes on."""
    going = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("c", "d")]
    number = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    return helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])], "b", [number, going[0]], going[1:]
    )


def a_loop(model: Model) -> None:
    """2^62 times nothing, which no signal interrupts."""
    count = helper.make_tensor("count", TensorProto.INT64, [], [2**62])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    model.graph.initializer.extend([count, yes])
    model.graph.node.insert(0, helper.make_node("Loop", ["count", "yes"], [], body=body()))


def a_choice(model: Model) -> None:
    model.graph.node.append(
        helper.make_node("If", ["yes"], [], then_branch=body(), else_branch=body())
    )


def an_unknown_operator_with_a_graph(model: Model) -> None:
    model.graph.node.append(helper.make_node("Repeat", ["yes"], [], domain="x", what=body()))


def graphs(model: Model) -> None:
    model.graph.node.append(helper.make_node("Repeat", ["yes"], [], what=[body(), body()]))


def a_function(model: Model) -> None:
    """Functions that call each other double their size with each call when they are inlined."""
    loop = helper.make_node("Loop", ["n", "c"], [], body=body())
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("x", "twice", ["n", "c"], [], [loop], opset))


def elsewhere(model: Model) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def elsewhere_in_a_node(model: Model) -> None:
    value = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    value.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["t"], value=value))


def no_inputs(model: Model) -> None:
    del model.graph.input[:]


def no_outputs(model: Model) -> None:
    del model.graph.output[:]


def two_inputs(model: Model) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def strange_input(model: Model) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 999


def strange_constant(model: Model) -> None:
    model.graph.initializer[0].data_type = 12345


def constant_of_many_dimensions(model: Model) -> None:
    model.graph.initializer[0].dims.extend([1] * 10**6)


def long_operator(model: Model) -> None:
    model.graph.node[0].op_type = "x" * 10**7


DAMAGED = {
    "deep": with_text("[" * 100_000),
    "deep inside": with_text('{"format":1,"config":' + "[" * 100_000),
    "long": with_text('{"format":1,"model":"' + "x" * 10**7 + '"}'),
    "digits": with_text('{"format":' + "9" * 5000 + "}"),
    "fewer digits": with_text('{"format":' + "9" * 4000 + "}"),
    "no object": with_text("[]"),
    "nothing": with_text("null"),
    "format list": with_values(format=[]),
    "format true": with_values(format=True),
    "window text": with_values(window="4"),
    "window list": with_values(window=[4]),
    "window 0": with_values(window=0),
    "window negative": with_values(window=-4),
    "window huge": with_values(window=10**400),
    "window float": with_values(window=4.0),
    "window of another": with_values(window=8),
    "halo text": with_values(halo="4"),
    "halo negative": with_values(halo=-4),
    "halo null": with_values(halo=None),
    "halo as wide as the tile": with_values(halo=8),
    "halo odd": with_values(halo=3),
    "tile number": with_values(tile=24),
    "tile text": with_values(tile="24"),
    "tile of one": with_values(tile=[24]),
    "tile of texts": with_values(tile=["24", "16"]),
    "tile true": with_values(tile=[True, 16]),
    "tile no multiple": with_values(tile=[26, 16]),
    "tile 0": with_values(tile=[0, 16]),
    "tile huge": with_values(tile=[2**40, 2**40]),
    "tile of lists": with_values(tile=[[24], [16]]),
    "tile NaN": with_values(tile=[float("nan"), 16]),
    "versions list": with_values(versions=["torch"]),
    "versions number": with_values(versions={"torch": 2}),
    "versions many": with_values(versions={str(i): "1" for i in range(2000)}),
    "targets text": with_values(targets="sm89"),
    "targets numbers": with_values(targets=[89]),
    "config null": with_values(config=None),
    "config list": with_values(config=[1]),
    "config empty": with_values(config={}),
    "config text": with_config(embed_dim="12"),
    "config huge": with_config(embed_dim=2**60, num_heads=[1, 1]),
    "config wide": with_config(embed_dim=65_536),
    "config of lists": with_config(depths=[[2], [2]]),
    "config depth": with_config(depths=2),
    "config alpha": with_config(conv_scale="much"),
    "config range": with_config(img_range=10**400),
    "config switch": with_config(qkv_bias="no"),
    "config window": with_config(window_size=10**6),
    "scale 0": with_values(scale=0),
    "scale 17": with_values(scale=17),
    "scale float": with_values(scale=2.5),
    "scale of another": with_values(scale=4),
    "channels 2": with_values(channels=2),
    "channels of another": with_values(channels=1),
    "batch 0": with_values(batch=0),
    "batch text": with_values(batch="2"),
    "precision": with_values(precision="int4"),
    "precision list": with_values(precision=["fp32"]),
    "io": with_values(io="$(reboot)"),
    "made for": with_values(made_for=["tensorrt"]),
    "model number": with_values(model=5),
    "model long": with_values(model="x" * 60_000),
    "hash": with_values(checkpoint_sha256="zz"),
}
FOREIGN = [
    a_loop, a_choice, an_unknown_operator_with_a_graph, graphs, a_function, elsewhere,
    elsewhere_in_a_node, no_inputs, no_outputs, two_inputs, strange_input, strange_constant,
    constant_of_many_dimensions, long_operator,
]  # fmt: skip
SOME = ("deep", "long", "digits", "window huge", "config range", "config wide", "tile NaN")
CHANGES = {name: DAMAGED[name] for name in SOME} | {make.__name__: make for make in FOREIGN}
BYTES = {
    "varints": b"\x08\x01" * (50 * 2**20),
    "long varint": b"\x08" + b"\xff" * 2**20,
    "groups": b"\x0b" * 2**20,
    "deep graph": b"\x3a" * 2**16,
    "tag of 2^40": b"\xba\x80\x80\x80\x80\x80\x01\x00",
}
"""Files that are no ONNX model."""


def assert_one_sentence(wrong: dict[str, Any]) -> None:
    assert not wrong, "\n".join(f"{name}: {how}" for name, how in wrong.items())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_hostile_files_are_one_sentence(tmp_path: Path, tiny_onnx: Path) -> None:
    files = []
    plain = onnx.load(tiny_onnx)
    for i, change in enumerate(CHANGES.values()):
        model = onnx.ModelProto()
        model.CopyFrom(plain)
        change(model)
        files.append(tmp_path / f"{i}.onnx")
        files[-1].write_bytes(model.SerializeToString())
    for name, content in BYTES.items():
        files.append(tmp_path / f"{name}.onnx")
        files[-1].write_bytes(content)
    ended = run_limited((["info", str(file)] for file in files), extra=2**29)
    assert len(ended) == len(files)
    assert_one_sentence(
        {
            name: (end.status, end.stdout[-300:], end.stderr[-1000:])
            for name, end in zip([*CHANGES, *BYTES], ended, strict=True)
            if end.status != 2
            or end.stdout
            or not end.stderr.startswith("error: ")
            or end.stderr.count("\n") != 1
            or len(end.stderr) > 1000
        }
    )


@pytest.mark.parametrize("change", [a_loop, a_choice, a_function, graphs], ids=lambda f: f.__name__)
def test_what_may_run_for_any_time_is_refused_when_it_is_opened(
    tmp_path: Path, tiny_onnx: Path, change: Callable[[Model], None]
) -> None:
    model = onnx.load(tiny_onnx)
    change(model)
    path = tmp_path / "x.onnx"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="may run for any time"):
        describe(path)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_description_is_refused_in_a_plan_too(
    tmp_path: Path, tiny_onnx: Path, name: str
) -> None:
    model = onnx.load(tiny_onnx)
    DAMAGED[name](model)
    text = model.metadata_props[0].value
    path = tmp_path / "x.plan"
    path.write_bytes(b"ftrt" + bytes(100) + PLAN_MARKER.encode() + text.encode() + bytes(100))
    for found in (path, path.with_suffix(".onnx")):
        onnx.save(model, path.with_suffix(".onnx"))
        with pytest.raises(ArtifactError) as caught:
            describe(found)
        assert len(str(caught.value)) < 1000
        assert "\n" not in str(caught.value)


def test_weights_are_skipped_and_a_description_behind_them_is_found(
    tmp_path: Path, tiny_onnx: Path
) -> None:
    """Fields may come in any order, and one message in several parts."""
    whole = onnx.load(tiny_onnx)
    parts = onnx.ModelProto()
    parts.graph.CopyFrom(whole.graph)
    rest = onnx.ModelProto()
    rest.CopyFrom(whole)
    rest.ClearField("graph")
    path = tmp_path / "x.onnx"
    path.write_bytes(parts.SerializeToString() + rest.SerializeToString())
    assert describe(path) == describe(tiny_onnx)
    hidden = onnx.ModelProto()
    a_loop(hidden)
    path.write_bytes(whole.SerializeToString() + hidden.SerializeToString())
    with pytest.raises(ArtifactError, match=r"control flow \(Loop\)"):
        describe(path)


def test_the_description_of_every_precision_and_size_is_read(
    tmp_path: Path, tiny_onnx: Path
) -> None:
    own = describe(tiny_onnx)
    for precision in artifact.PRECISIONS:
        text = replace(own, precision=precision, targets=("sm89", "sm120")).to_json()
        assert artifact.Description.from_json(text, tmp_path).precision == precision
    older = {name: x for name, x in json.loads(own.to_json()).items() if name != "targets"}
    assert artifact.Description.from_json(json.dumps(older), tmp_path) == own


@pytest.mark.parametrize(
    "name", ["x; reboot.plan", "a b.plan", "$(reboot).plan", "a\r\nreboot\n.plan"]
)
def test_a_suggested_command_can_be_pasted(tiny_onnx: Path, name: str) -> None:
    told = replace(describe(tiny_onnx), model="x\r\n\x1b[2Jreboot; `reboot`")
    said = fit.rebuild(Path(name), told, flavour="tensorrt")
    assert said.isprintable()
    command = said.split("`: ", 1)[1]
    words = shlex.split(command)
    assert words[:4] == ["hat-deploy", "export", "CHECKPOINT", "-o"]
    assert words[5:7] == ["--tile", "24x16"]
    assert words[4] == name.replace("\r", r"\r").replace("\n", r"\n")
    assert words[-2:] == ["--flavour", "tensorrt"]
