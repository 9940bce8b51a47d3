"""Graphs that are not what their description says: refused before the first image."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hat_deploy.artifact import METADATA_KEY
from hat_deploy.engines import BACKENDS, open_artifact
from hat_deploy.errors import ArtifactError

Change = Callable[[onnx.ModelProto], object]
SHAPE = (2, 3, 48, 32)


def append(
    model: onnx.ModelProto,
    operator: str,
    *constants: object,
    shape: Sequence[int],
    **how: object,
) -> None:
    """One more node at the end; the output gets its shape."""
    graph = model.graph
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = ["body" if name == output.name else name for name in node.output]
    names = ["body"]
    for number, constant in enumerate(constants):
        names.append(f"constant{number}")
        graph.initializer.append(numpy_helper.from_array(np.asarray(constant), names[-1]))
    graph.node.append(helper.make_node(operator, names, [output.name], **how))
    declare(output, shape)


def declare(
    value: onnx.ValueInfoProto, shape: Sequence[int], kind: int = TensorProto.FLOAT
) -> None:
    value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))


def describe(model: onnx.ModelProto, **values: object) -> None:
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    entry.value = json.dumps(json.loads(entry.value) | values)


def high(model: onnx.ModelProto) -> None:
    append(model, "Concat", np.zeros(SHAPE, np.float32), axis=2, shape=(2, 3, 96, 32))


def two_and_a_half(model: onnx.ModelProto) -> None:
    sizes, nothing = [2, 3, 60, 40], np.array([], np.float32)
    append(model, "Resize", nothing, nothing, sizes, shape=sizes)


def gray(model: onnx.ModelProto) -> None:
    append(model, "ReduceMean", np.array([1]), shape=(2, 1, 48, 32))


def second_input(model: onnx.ModelProto) -> None:
    append(model, "Add", shape=SHAPE)
    model.graph.node[-1].input.append("more")
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def second_output(model: onnx.ModelProto) -> None:
    append(model, "Abs", shape=SHAPE)
    model.graph.output.append(helper.make_tensor_value_info("body", TensorProto.FLOAT, SHAPE))


def no_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def another_type(model: onnx.ModelProto) -> None:
    append(model, "Cast", to=TensorProto.FLOAT16, shape=SHAPE)
    declare(model.graph.output[0], SHAPE, TensorProto.FLOAT16)


def dynamic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "\x1b[31mheight"


CHANGES: dict[str, Change] = {
    "twice as high": high,
    "x2.5": two_and_a_half,
    "one channel": gray,
    "a second input": second_input,
    "a second output": second_output,
    "no output": no_output,
    "half precision": another_type,
    "dynamic": dynamic,
    "another scale": lambda model: describe(model, scale=3),
    "another tile": lambda model: describe(model, tile=[16, 24]),
    "another batch": lambda model: describe(model, batch=1),
    "other channels": lambda model: describe(model, channels=1),
    "another layout": lambda model: describe(model, io="uint8"),
}


def changed(source: Path, target: Path, change: Change) -> Path:
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_it_is_refused(tiny_onnx: Path, tmp_path: Path, change: Change, backend: str) -> None:
    path = changed(tiny_onnx, tmp_path / "x.onnx", change)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path, backend=backend, threads=1)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()


def longer_than_declared(model: onnx.ModelProto) -> None:
    """A size that only values decide, so that the declared one is believed."""
    append(model, "Tile", shape=SHAPE)
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 1]), "twice"))
    nodes = [
        helper.make_node("Shape", ["body"], ["lengths"]),
        helper.make_node("ReduceMax", ["body"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["brightest", "zero"], ["none"]),
        helper.make_node("Cast", ["none"], ["no"], to=TensorProto.INT64),
        helper.make_node("Add", ["twice", "no"], ["repeats"]),
    ]
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    last = graph.node.pop()
    last.input.append("repeats")
    graph.node.extend([*nodes, last])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_what_was_declared_is_no_image(
    tiny_onnx: Path, tmp_path: Path, backend: str
) -> None:
    path = changed(tiny_onnx, tmp_path / "x.onnx", longer_than_declared)
    with (
        pytest.raises(ArtifactError, match="export it again"),
        open_artifact(path, backend=backend, threads=1) as engine,
    ):
        engine.run(np.zeros(engine.input.shape, np.float32))
