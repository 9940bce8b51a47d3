"""What a checkpoint or an artifact is, and what it costs to run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hat_deploy.artifact import Artifact, Description, gpus, halo, launches
from hat_deploy.artifact.launches import Program
from hat_deploy.artifact.resolve import Checkpoint, resolve
from hat_deploy.artifact.self_test import COUNT
from hat_deploy.errors import (
    ArtifactError,
    CheckpointError,
    MissingExtraError,
    needed_for,
    require,
)
from hat_deploy.geometry import round_up, tile_size
from hat_deploy.networks import Shape, shape_of
from hat_deploy.networks.cost import Memory
from hat_deploy.networks.filekind import safetensors_dtypes
from hat_deploy.networks.unstored import options_for

if TYPE_CHECKING:
    import numpy as np
    import onnx

PAPER_SIDE = 64
"""Side of the LR input that the paper counts multi-adds at."""
TILE_SIDES = (64, 128, 256)
"""Tiles whose memory is estimated for a checkpoint."""
LARGEST_LISTED = 10
_MOST_DIMENSIONS = 64
_ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """What a network costs, from its config alone."""

    parameters: int
    multi_adds: int
    """Of one pass over ``side`` x ``side`` LR pixels."""
    side: int
    """64, or the next multiple of the window."""
    multi_adds_per_megapixel: int
    """Per million LR pixels, without halos."""
    agreement: str
    """See :class:`hat_deploy.networks.cost.Cost`."""
    memory: Mapping[tuple[int, int], Memory]
    """Estimated bytes of one fp32 pass, batch 1, by (height, width) of the tile: what the
    network itself needs at least."""
    processes: Mapping[tuple[int, int], Mapping[str, int]]
    """Estimated bytes of a whole process on a CPU, by tile and engine; see
    :func:`hat_deploy.networks.Shape.process_memory`."""
    batch: int = 1
    """Tiles at a time that the processes were estimated for."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "parameters": self.parameters,
            "multi_adds": self.multi_adds,
            "multi_adds_input": [self.side, self.side],
            "multi_adds_per_megapixel": self.multi_adds_per_megapixel,
            "memory": [
                {
                    "tile": list(tile),
                    "total": estimate.total,
                    **asdict(estimate),
                    "batch": self.batch,
                    "processes": dict(self.processes[tile]),
                }
                for tile, estimate in self.memory.items()
            ],
        }


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """A checkpoint: weights and the shape read off them."""

    path: Path
    bytes: int
    sha256: str
    place: str | None
    """Under which of the file's names the weights lie, such as ``params_ema``; None where they
    lie at its top level."""
    dtypes: tuple[str, ...]
    """Floating types they are stored in, the commonest first; all are read as float32."""
    config: Shape
    cost: NetworkCost

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "kind": "checkpoint",
            **_file(self.path, self.bytes, self.sha256),
            "weights": self.place,
            "dtypes": list(self.dtypes),
            **_network(self.config, self.cost),
        }


@dataclass(frozen=True, kw_only=True)
class Constant:
    """One constant of a graph."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What an ONNX graph is made of."""

    opset: Mapping[str, int]
    """By domain; the standard's is ``ai.onnx``."""
    inputs: Mapping[str, str]
    """By name: ``float32 [1, 3, 64, 64]``."""
    outputs: Mapping[str, str]
    ops: Mapping[str, int]
    """Nodes by operator, the commonest first; subgraphs are not entered."""
    constants: tuple[Constant, ...]
    """Initializers, the largest first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self) | {"constant_bytes": sum(c.bytes for c in self.constants)}


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """An artifact: its own description, its size, and for ONNX its graph."""

    path: Path
    bytes: int
    sha256: str
    description: Description
    config: Shape
    cost: NetworkCost
    multi_adds_per_kept_megapixel: int
    """Per million LR pixels of a large image, at the artifact's tile and default halo."""
    flop: int
    """Floating-point operations of one call, two a multi-add."""
    programs: tuple[Program, ...] | None
    """What a plan launches on the GPUs it was built for; None for ONNX, and where it is unknown."""
    graph: Graph | None
    missing: str | None
    """Why there is no graph to show; None where there is one, and for plans."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "kind": self.path.suffix.lower().removeprefix("."),
            **_file(self.path, self.bytes, self.sha256),
            "description": asdict(self.description),
            "halo_reason": halo.reason(self.description),
            "computed_per_full_hd_pixel": round(halo.computed(self.description), 3),
            **_network(self.config, self.cost),
            "multi_adds_per_kept_megapixel": self.multi_adds_per_kept_megapixel,
            "flop": self.flop,
            "programs": self.programs and [self._program(each) for each in self.programs],
            "graph": None if self.graph is None else self.graph.to_dict(),
            "missing": self.missing,
        }

    def estimates(self, program: Program) -> dict[str, float]:
        """Estimated seconds of one call, by the name of a GPU."""
        precision = self.description.precision
        return {
            gpu.name: gpu.seconds(program, self.flop, precision) for gpu in gpus.of(program.targets)
        }

    def _program(self, program: Program) -> dict[str, Any]:
        return program.to_dict() | {
            "flop_per_byte": self.flop / program.bytes,
            "estimated_seconds": self.estimates(program),
        }


Info = CheckpointInfo | ArtifactInfo


def examine(name: str) -> Info:
    """Look at a file or a shipped model; the suffix says artifact, anything else a checkpoint.

    A shipped model is shown as its checkpoint; that needs no PyTorch.

    Raises:
        UsageError: there is no such file, and no model of that name.
        ArtifactError, CheckpointError: the file is not what it should be.
        MissingExtraError: a checkpoint, and PyTorch is not installed.
    """
    named = resolve(name)
    if isinstance(named, Artifact):
        return _artifact(named)
    if named.shipped is None:
        return _checkpoint(named, *_read_weights(named.path))
    config = _config(named.shipped.config, named.shipped.folder / "config.json")
    return _checkpoint(named, config, None, safetensors_dtypes(named.path))


def network_cost(
    config: Shape, tiles: tuple[tuple[int, int], ...], *, batch: int = 1
) -> NetworkCost:
    """Costs of a network, with memory estimates for these tiles (height, width)."""
    side = round_up(PAPER_SIDE, config.window)
    counted = config.cost(side, side)
    return NetworkCost(
        parameters=counted.parameters,
        multi_adds=counted.multi_adds,
        side=side,
        multi_adds_per_megapixel=counted.per_megapixel,
        agreement=counted.agreement,
        memory={tile: config.memory(*tile) for tile in tiles},
        processes={tile: config.process_memory(*tile, batch=batch) for tile in tiles},
        batch=batch,
    )


def lines(info: Info) -> Iterator[str]:
    """The information as text, a fact a line."""
    yield f"file        {info.path}, {info.bytes / 1e6:,.1f} MB"
    yield f"sha256      {info.sha256}"
    if isinstance(info, ArtifactInfo):
        yield from _description_lines(info.description)
    else:
        place = info.place or "at the file's top level"
        stored = f", stored as {' and '.join(info.dtypes)}" if info.dtypes else ""
        yield f"weights     {place}{stored}; read as float32"
    yield f"variant     {info.config.variant} x{info.config.scale}"
    yield f"config      {', '.join(f'{k} {v}' for k, v in info.config.to_dict().items())}"
    if isinstance(info, CheckpointInfo) and info.config.unstored:
        yield f"not stored  {_unstored_line(info.config)}"
    yield from _cost_lines(info.cost)
    if isinstance(info, ArtifactInfo):
        yield (
            f"            {info.multi_adds_per_kept_megapixel / 1e12:,.2f} T per LR megapixel "
            "of a large image at this tile and halo"
        )
        if info.path.suffix.lower() == ".plan":
            yield from _launch_lines(info)
        if info.graph is not None:
            yield from _graph_lines(info.graph)
        if info.missing is not None:
            yield f"graph       {info.missing}"


def _artifact(found: Artifact) -> ArtifactInfo:
    path, described = found.path, found.description
    config = _config(described.config, path)
    height, width = described.tile
    kept = (height - 2 * described.halo) * (width - 2 * described.halo)
    graph, missing = None, None
    if found.is_onnx:
        try:
            graph = read_graph(path)
        except MissingExtraError as error:
            missing = str(error)
    return ArtifactInfo(
        path=path,
        bytes=path.stat().st_size,
        sha256=found.sha256,
        description=described,
        config=config,
        cost=network_cost(config, (described.tile,), batch=described.batch),
        multi_adds_per_kept_megapixel=round(config.cost(height, width).multi_adds * 1e6 / kept),
        flop=2 * described.batch * config.cost(height, width).multi_adds,
        programs=None if found.is_onnx else launches.read_programs(path),
        graph=graph,
        missing=missing,
    )


def _checkpoint(
    checkpoint: Checkpoint, config: Shape, place: str | None, dtypes: tuple[str, ...]
) -> CheckpointInfo:
    path = checkpoint.path
    sides = dict.fromkeys(round_up(side, config.window) for side in TILE_SIDES)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    return CheckpointInfo(
        path=path,
        bytes=size,
        sha256=checkpoint.sha256,
        place=place,
        dtypes=dtypes,
        config=config,
        cost=network_cost(config, tuple((side, side) for side in sides)),
    )


def _read_weights(path: Path) -> tuple[Shape, str | None, tuple[str, ...]]:
    """Config, place and types; read whole, for a shape proves nothing about the rest."""
    require("torch", purpose="Reading a checkpoint")
    from hat_deploy.networks.checkpoint import inspect

    config, stored = inspect(path)
    return config, stored.place, stored.dtypes


def _config(values: Mapping[str, Any], origin: Path) -> Shape:
    try:
        return shape_of(values)
    except ValueError as error:
        raise ArtifactError(f"{origin} describes no network: {error}") from error


def read_graph(path: Path) -> Graph:
    """Count an ONNX file's operators and constants.

    Raises:
        MissingExtraError: the ``onnx`` package is not installed.
        ArtifactError: the file is not ONNX.
    """
    with needed_for("Listing the operators and constants of an .onnx"):
        import onnx
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError, of a package without types
        raise ArtifactError(
            f"{path} is not a whole ONNX file ({error}): export it again"
        ) from error
    try:
        return _graph(model)
    except ValueError as error:
        raise ArtifactError(f"{path} has {error}: it is damaged; export it again") from error


def _graph(model: onnx.ModelProto) -> Graph:
    constants = [_constant(tensor) for tensor in model.graph.initializer]
    return Graph(
        opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        inputs={value.name: _value_type(value) for value in model.graph.input},
        outputs={value.name: _value_type(value) for value in model.graph.output},
        ops=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        constants=tuple(sorted(constants, key=lambda constant: -constant.bytes)),
    )


def _constant(tensor: onnx.TensorProto) -> Constant:
    dtype = _dtype(tensor.data_type)
    if len(tensor.dims) > _MOST_DIMENSIONS:
        raise ValueError(f"a constant of {len(tensor.dims)} dimensions")
    return Constant(
        name=tensor.name,
        dtype=str(dtype),
        shape=tuple(tensor.dims),
        bytes=math.prod(tensor.dims) * dtype.itemsize,
    )


def _value_type(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    if len(kind.shape.dim) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor of {len(kind.shape.dim)} dimensions")
    shape = [d.dim_value or d.dim_param for d in kind.shape.dim]
    return f"{_dtype(kind.elem_type)} {shape}"


def _dtype(number: int) -> np.dtype[Any]:
    from onnx import helper

    try:
        return helper.tensor_dtype_to_np_dtype(number)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a tensor of an unknown type, {number}") from error


def _file(path: Path, size: int, digest: str) -> dict[str, Any]:
    return {"path": str(path), "bytes": size, "sha256": digest}


def _network(config: Shape, counted: NetworkCost) -> dict[str, Any]:
    return {
        "variant": config.variant,
        "scale": config.scale,
        "config": config.to_dict(),
        "cost": counted.to_dict(),
    }


def _description_lines(described: Description) -> Iterator[str]:
    or_any = f" or any multiples of {described.window}" if described.any_size else ""
    yield f"model       {described.model}, checkpoint sha256 {described.checkpoint_sha256}"
    if described.origin is not None:
        yield f"origin      {described.origin}"
    yield (
        f"runs        tile {tile_size(described.tile)}{or_any}, batch {described.batch}, "
        f"default halo {described.halo}, {described.precision}, {described.io} input and output"
    )
    if described.mixed:
        yield f"in half     {described.mixed}"
    yield f"halo        {halo.reason(described)}"
    yield (
        f"tiling      {halo.computed(described):.2f} pixels computed for each of an image of "
        "1920x1080" + (", in each pass" if described.averages else "")
    )
    if described.made_for == "tensorrt":
        yield "made for    TensorRT: heads padded for fused attention; other engines run it too"
    if described.averages is not None:
        count, channels = described.averages
        yield f"exact       takes and gives {count} averages of {channels} channels"
    if described.targets:
        yield f"built for   {', '.join(described.targets)}"
    yield f"made by     {', '.join(f'{k} {v}' for k, v in described.versions.items())}"
    yield f"self-test   {_self_test(described)}"


def _self_test(described: Description) -> str:
    test = described.self_test
    if test is None:
        return "none: an older release made it; export it again to have it tested where it runs"
    if not test.usable:
        return "by a newer release: this one cannot run it"
    return f"{COUNT} values of the reference, at least {test.floor:.0f} dB where it runs"


def _unstored_line(config: Shape) -> str:
    return (
        f"{config.unstored}: "
        "as published, or as a config.json beside the file says; commands take others as "
        f"{options_for(config)}"
    )


def _cost_lines(counted: NetworkCost) -> Iterator[str]:
    yield f"parameters  {counted.parameters:,} ({counted.parameters / 1e6:.1f} M)"
    yield (
        f"multi-adds  {counted.multi_adds / 1e9:.1f} G at {counted.side}x{counted.side}, "
        f"{counted.multi_adds_per_megapixel / 1e12:,.2f} T per LR megapixel"
        f"{counted.agreement and '; '}{counted.agreement}"
    )
    for tile, estimate in counted.memory.items():
        whole = ", ".join(
            f"{_ENGINES[engine]} about {size / 1e6:,.0f} MB"
            for engine, size in counted.processes[tile].items()
        )
        several = f", {counted.batch} at a time" if counted.batch > 1 else ""
        yield (
            f"memory      estimates for a tile of {tile_size(tile)} in fp32 on a CPU{several}, "
            f"the whole process: {whole}"
        )
        yield (
            f"            one tile's share: weights {estimate.weights / 1e6:,.0f} MB, "
            f"position biases {estimate.position_biases / 1e6:,.0f} MB, activations "
            f"{estimate.activations / 1e6:,.0f} MB (in {estimate.moment})"
        )


def _launch_lines(info: ArtifactInfo) -> Iterator[str]:
    yield from launches.lines(info.programs)
    for program in info.programs or ():
        yield f"            {info.flop / program.bytes:,.0f} FLOP a byte; by kind:"
        for each in program.kernels:
            yield (
                f"            {each.bytes / 1e9:8.2f} GB  {each.launches:4d} launches  {each.kind}"
            )
        times = (
            f"{name} {seconds * 1e3:,.1f} ms" for name, seconds in info.estimates(program).items()
        )
        yield (
            "estimate    of a call, by bandwidth and peak alone: "
            f"{', '.join(times) or 'unknown, for no GPU that is listed'}"
        )


def _graph_lines(graph: Graph) -> Iterator[str]:
    for title, values in (("input", graph.inputs), ("output", graph.outputs)):
        for name, kind in values.items():
            yield f"{title:12}{name}, {kind}"
    yield f"opset       {', '.join(f'{k} {v}' for k, v in graph.opset.items())}"
    yield f"operators   {', '.join(f'{op} {count}' for op, count in graph.ops.items())}"
    total = sum(constant.bytes for constant in graph.constants)
    yield f"constants   {len(graph.constants)}, {total / 1e6:,.1f} MB; the largest:"
    for constant in graph.constants[:LARGEST_LISTED]:
        yield (
            f"            {constant.bytes / 1e6:8.3f} MB  {constant.dtype} "
            f"{list(constant.shape)}  {constant.name}"
        )
