"""An artifact against the reference after every block: where it begins to differ.

An ``.onnx`` is given the values between its blocks as further outputs, in a copy in memory, and
is run once on a tile of an image; the network runs on the same tile with hooks. Values are found
by the graph's form, which follows from the network's: its LayerNorms and its last convolutions
come in a known order, and the stream that leaves a block is the sum that its second norm's
input goes into. Names are not relied on: equal constants are stored once, under one name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hat_deploy.artifact import Artifact, Description
from hat_deploy.engines.averages import own_averages
from hat_deploy.engines.base import Array, TensorSpec, ports_of
from hat_deploy.errors import UsageError, needed_for
from hat_deploy.geometry import grid
from hat_deploy.images.samples import Sample
from hat_deploy.metrics import compare
from hat_deploy.networks.points import Point
from hat_deploy.precision import Precision
from hat_deploy.tiles import tiling
from hat_deploy.verify.layer_errors import BlockDifference, LayersReport

with needed_for("Comparing block by block"):
    import onnx
    import onnxruntime as ort
    import torch
    from torch import Tensor

if TYPE_CHECKING:
    from hat_deploy.networks.network import Network


def compare_blocks(named: Path | Artifact, network: Network, sample: Sample) -> LayersReport:
    """Run an ``.onnx`` and the network on the tile in the middle of an image.

    All values between blocks are held at once: for a full HAT at 256x256 about 3 GB.

    Args:
        named: the artifact.
        network: the reference: float32, on the CPU.
        sample: the image.

    Raises:
        UsageError: the artifact is no ``.onnx``, is in a precision that ONNX Runtime does not
            run on a CPU, or its graph is not of the form that ``export`` writes.
    """
    artifact = Artifact.of(named)
    path, described = artifact.path, artifact.description
    if not artifact.is_onnx:
        raise UsageError(f"--layers needs an .onnx, and {path} is not one: verify the ONNX file")
    if Precision.of(described.precision).usual is None:
        raise UsageError(
            f"--layers runs the file on the CPU, where ONNX Runtime has no {described.precision}: "
            "export the checkpoint in fp32 or fp16 and look into that file"
        )
    points = network.config.points()
    if not points:
        raise UsageError(
            f"--layers looks between blocks, and the blocks of this network "
            f"({network.config.variant}) are not known: leave it out"
        )
    values = _run_artifact(path, described, points, sample)
    tile = _batch(
        described, sample, TensorSpec("input", _float_shape(described), "float32", "NCHW")
    )
    blocks = tuple(_compared(network, torch.from_numpy(tile), values, described.io))
    return LayersReport(
        picture=sample.name,
        engine=f"onnxruntime {ort.__version__}, cpu",
        precision=described.precision,
        blocks=blocks,
    )


def locate(graph: onnx.GraphProto, points: Sequence[Point]) -> dict[str, str]:
    """The names of a graph's values at these points, by the points' names.

    Raises:
        UsageError: the graph is not of the form that ``export`` writes.
    """
    nodes = {
        operator: [node for node in graph.node if node.op_type == operator]
        for operator in ("LayerNormalization", "Conv")
    }
    norms = [point.number for point in points if point.operator == "LayerNormalization"]
    closing = [-point.number for point in points if point.operator == "Conv"]
    found = len(nodes["LayerNormalization"])
    if found != max(norms) + 1 or len(nodes["Conv"]) < max(closing):
        raise _unknown_form(f"{found} LayerNorms where the network has {max(norms) + 1}")
    return {
        point.name: _value(graph, nodes[point.operator][point.number], point) for point in points
    }


def _value(graph: onnx.GraphProto, node: onnx.NodeProto, point: Point) -> str:
    if point.side == "output":
        return str(node.output[0])
    value = str(node.input[0])
    return _sum_with(graph, value) if point.side == "sum" else value


def _sum_with(graph: onnx.GraphProto, value: str) -> str:
    """The result of the one addition that takes a value: the residual around an MLP."""
    sums = [node for node in graph.node if node.op_type == "Add" and value in node.input]
    if len(sums) != 1:
        raise _unknown_form(f"{len(sums)} sums take '{value}', one was expected")
    return str(sums[0].output[0])


def _unknown_form(what: str) -> UsageError:
    return UsageError(
        f"the graph is not of the form that this release writes ({what}): export the checkpoint "
        "again and look into that file"
    )


def _run_artifact(
    path: Path, described: Description, points: Sequence[Point], sample: Sample
) -> dict[str, Array]:
    """The values that leave each block, the output last: of the first tile of the batch."""
    model = onnx.load(path)
    names = locate(model.graph, points)
    model.graph.output.extend(onnx.ValueInfoProto(name=value) for value in names.values())
    options = ort.SessionOptions()
    options.log_severity_level = 4  # as in the engine
    options.enable_mem_reuse = options.enable_mem_pattern = False
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0]
    uint8 = described.io == "uint8"
    spec = TensorSpec(
        given.name, tuple(given.shape), *(("uint8", "NHWC") if uint8 else ("float32", "NCHW"))
    )
    output = session.get_outputs()[0].name
    ports = ports_of(described)
    besides = zip((port.name for port in ports.inputs[1:]), own_averages(ports), strict=True)
    batch = {spec.name: _batch(described, sample, spec), **dict(besides)}
    results = session.run([*names.values(), output], batch)
    return {name: result[:1] for name, result in zip([*names, "output"], results, strict=True)}


def _float_shape(described: Description) -> tuple[int, int, int, int]:
    return (1, described.channels, *described.tile)


def _batch(described: Description, sample: Sample, spec: TensorSpec) -> Array:
    """The tile in the middle of the image, as often as the batch is long."""
    height, width = sample.pixels.shape[:2]
    tiles = grid((height, width), described.tile, described.halo, described.window).tiles
    return tiling.gather(sample.pixels, [tiles[len(tiles) // 2]], spec)


def _compared(
    network: Network, x: Tensor, values: dict[str, Array], io: str
) -> Iterator[BlockDifference]:
    """Run the network and compare each value as it appears; none is kept."""
    network.freeze()
    found: list[BlockDifference] = []

    def note(name: str, kind: str, value: Tensor) -> None:
        found.append(_difference(name, kind, value.numpy(), values.pop(name)))

    with ExitStack() as hooks, torch.inference_mode():
        for handle in _hooks(network, network.config.points(), note):
            hooks.callback(handle.remove)
        output = network(x)
    if io == "uint8":
        output = (output.clamp(0, 1) * 255).round().permute(0, 2, 3, 1) / 255
        values["output"] = values["output"] / np.float32(255)
    note("output", "bytes" if io == "uint8" else "output", output)
    yield from found


def _hooks(
    network: Network, points: Sequence[Point], note: Callable[[str, str, Tensor], None]
) -> Iterator[Any]:
    """Watch every point; what enters a module is what leaves the ones before it."""
    modules = dict(network.named_modules())
    for point in points:
        name, kind, module = point.name, point.kind, modules[point.module]
        if point.enters:
            yield module.register_forward_pre_hook(
                lambda _, inputs, name=name, kind=kind: note(name, kind, inputs[0])
            )
        else:
            yield module.register_forward_hook(
                lambda _, inputs, value, name=name, kind=kind: note(name, kind, value)
            )


def _difference(name: str, kind: str, reference: Array, candidate: Array) -> BlockDifference:
    if reference.size == candidate.size and reference.shape[-1] == candidate.shape[-1]:
        # The stream's rows and columns may be one axis in one of the two.
        candidate = candidate.reshape(reference.shape)
    if reference.shape != candidate.shape:
        raise _unknown_form(f"{name} is {candidate.shape}, the network's {reference.shape}")
    peaks = [_peak(values) for values in (reference, candidate)]
    return BlockDifference(
        block=name,
        kind=kind,
        difference=compare(reference, candidate.astype(np.float32, copy=False)),
        rms=float(np.sqrt(np.mean(np.square(reference, dtype=np.float64)))),
        peak=peaks[0],
        artifact_peak=peaks[1],
    )


def _peak(values: Array) -> float:
    """Largest absolute value; NaN counts as infinite."""
    return float(np.nan_to_num(np.abs(values.astype(np.float32)), nan=np.inf, posinf=np.inf).max())
