"""Network to ONNX, proved against the network before anyone may use it."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hat_deploy import artifact
from hat_deploy.artifact import METADATA_KEY, PEAK, Description
from hat_deploy.artifact.self_test import SelfTest
from hat_deploy.engines import self_test
from hat_deploy.engines.base import AVERAGES_OUT, Array, Engine, ports_of, sized
from hat_deploy.errors import ArtifactError, CheckFailed, UsageError, needed_for, require
from hat_deploy.files import replacing
from hat_deploy.geometry import check_tile, default_halo, default_tile, format_size, round_up
from hat_deploy.machine import available_memory
from hat_deploy.metrics import Difference, compare
from hat_deploy.precision import NEWEST_OPSET, Precision
from hat_deploy.terminal.progress import OnStage
from hat_deploy.version import __version__

if TYPE_CHECKING:
    import onnx_ir as ir

    from hat_deploy.networks.network import Network

with needed_for("Exporting a checkpoint"):
    require("torch", purpose="Exporting a checkpoint")
    import onnx
    import torch

from hat_deploy.engines.torch import TorchEngine, require_averages
from hat_deploy.export import exact_proof, halving
from hat_deploy.export.misfit import doubt
from hat_deploy.export.translations import translations
from hat_deploy.export.untraceable import untraceable
from hat_deploy.networks.deployed import Deployed

IO = ("float", "uint8")
CHEAP_MULTI_ADDS = 250e9
"""Up to this many multi-adds (two 64x64 tiles of HAT x4) the proof runs at full size."""
PROOF_SIDE = 64
DEFAULT_OPSET = 20
"""The first with Gelu."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What shape of artifact to make.

    Sizes are checked against the network when it is exported.
    """

    tile: tuple[int, int] | None = None
    """Height and width of the input, halo included; multiples of the window. None takes 256x256,
    rounded up to them."""
    batch: int = 1
    """Tiles in one call."""
    halo: int | None = None
    """Default halo the artifact carries; None chooses one."""
    precision: str = Precision.FP32
    """The name of a :class:`~hat_deploy.precision.Precision`."""
    io: str = "float"
    """``float``: NCHW float32 in [0, 1]. ``uint8``: NHWC bytes."""
    any_size: bool = False
    """Whether height and width are left open: any multiples of the window."""
    opset: int | None = None
    """ONNX operator set; None takes 20, the first with Gelu, or for bf16 22."""
    made_for: str = "any"
    """``tensorrt``: spelled for its fused kernels, see :meth:`Network.for_tensor_cores`; it runs
    anywhere, and computes the same."""
    exact: bool = False
    """Whether it takes and gives averages, so that tiles can equal the whole image."""
    min_psnr: float | None = None
    """Lowest PSNR against the reference; None takes the precision's own."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"batch is {self.batch}; it must be at least 1")
        try:
            oldest = Precision.of(self.precision).opset
        except ValueError as error:
            raise UsageError(str(error)) from error
        if self.io not in IO:
            raise UsageError(f"io {self.io}: use one of {', '.join(IO)}")
        if self.made_for not in artifact.MADE_FOR:
            raise UsageError(f"--for {self.made_for}: use one of {', '.join(artifact.MADE_FOR)}")
        if not oldest <= self.chosen_opset <= NEWEST_OPSET:
            raise UsageError(
                f"opset {self.opset} is not supported in {self.precision}: "
                f"use {oldest} to {NEWEST_OPSET}"
            )

    @property
    def chosen_opset(self) -> int:
        """The operator set in force."""
        if self.opset is not None:
            return self.opset
        return max(DEFAULT_OPSET, Precision.of(self.precision).opset)

    def tile_for(self, network: Network) -> tuple[int, int]:
        """The tile in force."""
        return self.tile or default_tile(network.config.window)

    @property
    def floor(self) -> float:
        """The lowest PSNR in force."""
        return Precision.of(self.precision).floor if self.min_psnr is None else self.min_psnr


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was made, and what was proved about it."""

    path: Path
    description: Description
    bytes: int
    seconds: float
    proof: Difference
    """The graph in ONNX Runtime against the PyTorch reference. ONNX Runtime's CPU kernels have
    no bf16: such a graph is run with its bf16 tensors read as float32."""
    proof_tile: tuple[int, int]
    """Where the proof was made: the export's own tile, or a smaller one."""
    arithmetic: Difference | None
    """The same module in PyTorch, in half on the CPU, against the reference; None for fp32.
    Attention is computed by the formula that is exported. PyTorch's fused attention, and other
    libraries on a CPU, compute wider inside, and would hide an overflow."""

    expected: Array
    """What the reference makes of the artifact's test tile: (C, H, W) float32."""
    warnings: tuple[str, ...] = ()
    """What seems wrong with the network itself, a sentence each."""

    @property
    def wide(self) -> Mapping[str, str]:
        """The layers that a search kept in fp32, with their reasons."""
        assignment = self.description.assignment
        return {} if assignment is None else assignment.wide

    @property
    def proved_at_full_size(self) -> bool:
        """Whether the very file was compared, not a smaller sibling of the same builder."""
        return self.proof_tile == self.description.tile

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types."""
        arithmetic = self.arithmetic
        return {
            "path": str(self.path),
            "description": asdict(self.description),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "proof": self.proof.to_dict(),
            "proof_tile": list(self.proof_tile),
            "arithmetic": None if arithmetic is None else arithmetic.to_dict(),
            "warnings": list(self.warnings),
        }


def export_onnx(
    network: Network,
    target: Path,
    options: ExportOptions,
    *,
    model: str,
    checkpoint_sha256: str,
    origin: str | None = None,
    prove_full: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> ExportReport:
    """Write ``network`` as a self-describing ONNX file that computes what it computes.

    The reference's values on a fixed tile of the file's own size go into its description, and the
    file is run once on that tile in ONNX Runtime, where there is the memory, and must give them.
    Its difference from the network is measured on the file itself where that is cheap (or
    ``prove_full``), else on a 64x64 export by the same builder. A half-precision network is also
    run by PyTorch in that very precision, attention scores included. A graph of bytes is proved
    by its float sibling, whose rounded values it must give to the last bit.

    Args:
        network: float32, with weights loaded; it is frozen in place.
        target: replaced in one step, only once every check has passed.
        model: name for the description.
        checkpoint_sha256: of the file the weights came from.
        origin: where that was downloaded from, for the description.

    Raises:
        UsageError: tile, batch, halo or opset do not fit the network.
        CheckFailed: the PSNR is below its floor, a value of an fp32 graph differs by more than
            it may, or values are not finite; no file is left.
        ArtifactError: the written file does not pass ``onnx.checker``, or cannot be run.
        MissingExtraError: a library that it takes is not installed.
    """
    started = time.monotonic()
    # Tracing takes minutes: what it and the proof need on the way is looked for before.
    require("onnxscript", "onnxruntime", purpose="Exporting a checkpoint")
    network.freeze()
    described = describe(network, options, model=model, checkpoint_sha256=checkpoint_sha256)
    described = replace(described, origin=origin)
    on_stage("looking at what the network makes of an image")
    doubtful = doubt(network)
    with replacing(target) as partial:
        assignment = halving.assign(network, options.precision, options.floor, on_stage)
        if assignment is not None:
            described = replace(described, assignment=assignment, mixed=assignment.summary)
        arithmetic = _prove_arithmetic(network, options, on_stage)
        on_stage(f"running the reference at {format_size(described.tile)}")
        expected = _expected(network, options, described)
        floor = min(options.floor, Precision.of(options.precision).floor)
        test = SelfTest.of(expected, floor, described.tile)
        described = replace(described, self_test=test)
        on_stage(f"tracing at {format_size(described.tile)}")
        write(network, partial, described)
        on_stage("running it in ONNX Runtime")
        cheap = _multi_adds(network, options) <= CHEAP_MULTI_ADDS
        tile = described.tile if cheap or prove_full else _proof_tile(network)
        # ONNX Runtime computes outside Python, so the proof can be traced meanwhile.
        with ThreadPoolExecutor(1) as pool:
            fits = tile == described.tile or _fits(network, described)
            tested = pool.submit(_run_test, partial, test) if fits else None
            once = "running it once, and " if fits else ""
            on_stage(f"{once}comparing with PyTorch at {format_size(tile)}")
            proof = _prove_graph(network, partial, described, tile)
        if tested is not None:
            near = replace(options, min_psnr=options.floor - self_test.MARGIN)
            _require(network, tested.result(), near, "the exported graph, in its own test,")
        _require(network, proof, options, "the exported graph")
    return ExportReport(
        path=target,
        description=described,
        bytes=target.stat().st_size,
        seconds=time.monotonic() - started,
        proof=proof,
        proof_tile=tile,
        arithmetic=arithmetic,
        expected=expected,
        warnings=(doubtful,) if doubtful else (),
    )


def describe(
    network: Network, options: ExportOptions, *, model: str, checkpoint_sha256: str
) -> Description:
    """The description an export with these options carries.

    Raises:
        UsageError: tile or halo do not fit the network's window, its images are neither RGB
            nor gray, or it is to be exact and has no averages.
    """
    config = network.config
    if config.channels not in (1, 3):
        raise UsageError(
            f"this network takes images of {config.channels} channels; only those for RGB (3) "
            "and gray (1) can be exported"
        )
    if options.any_size and not config.any_size:
        raise UsageError(
            f"the graph of this network ({config.variant}) holds for one size: leave --any-size "
            "out, and name the --tile"
        )
    tile, halo = options.tile_for(network), options.halo
    if halo is None:
        halo = default_halo(tile, config.window, exact=options.exact)
    check_tile(tile, halo, config.window)
    return Description(
        model=model,
        config=config.to_dict(),
        scale=config.scale,
        window=config.window,
        channels=config.channels,
        tile=tile,
        batch=options.batch,
        halo=halo,
        precision=options.precision,
        io=options.io,
        made_for=options.made_for,
        averages=require_averages(network) if options.exact else None,
        any_size=options.any_size,
        checkpoint_sha256=checkpoint_sha256,
        versions={
            "hat-deploy": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxscript": version("onnxscript"),
            "opset": str(options.chosen_opset),
        },
        outputs=_outputs(options.io, exact=options.exact),
    )


def _outputs(io: str, *, exact: bool) -> tuple[str, ...]:
    own = AVERAGES_OUT if exact else ()
    return ("output", *own, PEAK) if io == "uint8" else ("output", *own)


def write(network: Network, path: Path, description: Description) -> None:
    """Trace the network as the description says and write the checked file.

    Args:
        network: float32; it is converted to the description's precision on the way.

    Raises:
        ArtifactError: the file does not pass ``onnx.checker`` with full checks.
    """
    import onnx_ir as ir

    model = _trace(network, description)
    model.metadata_props[METADATA_KEY] = description.to_json()
    model.producer_name = "hat-deploy"
    model.producer_version = __version__
    ir.save(model, path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # ValidationError and shape inference's own share no base
        raise ArtifactError(f"the exported graph is not valid ONNX: {error}") from error


def prove(network: Network, path: Path, tile: tuple[int, int] | None = None) -> Difference:
    """Compare a float ONNX file with the network on one seeded batch.

    An exact one is compared twice: with each tile's own averages, and with half of what it gave
    for those as averages from outside.

    Args:
        tile: height and width, for a file of any size; None takes the file's own.

    Raises:
        CheckFailed: averages that it gives differ.
    """
    with _runtime(path) as engine:
        running = engine if tile is None else sized(engine, tile)
        batch = _sample(running)
        candidate = running.run(batch)
        taken = exact_proof.run(running, batch)
    with TorchEngine(
        network, tile=running.input.size, batch=len(batch), exact=taken is not None
    ) as reference:
        found = compare(reference.run(batch), candidate)
        if taken is None:
            return found
        return Difference.combine([found, exact_proof.compare_with(reference, batch, taken)])


def _prove_graph(
    network: Network, path: Path, description: Description, tile: tuple[int, int]
) -> Difference:
    """Compare ``path`` with the network, or siblings by the same builder where it is too large
    or takes bytes. A file of any size is its own sibling, and is also compared at its smallest."""

    @contextmanager
    def sibling(io: str) -> Iterator[Path]:
        fits = description.any_size or tile == description.tile
        if fits and io == description.io:
            yield path
            return
        batch = description.batch if tile == description.tile else 1
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / f"{io}.onnx"
            outputs = _outputs(io, exact=description.averages is not None)
            alike = replace(description, tile=tile, batch=batch, io=io, outputs=outputs)
            write(network, other, replace(alike, self_test=None))
            yield other

    with sibling("float") as floats:
        if description.io == "uint8":
            with sibling("uint8") as rounded:
                _require_same_bytes(floats, rounded, tile)
        if not description.any_size:
            return prove(network, floats)
        window = description.window
        sizes = [(window, window), (window, 2 * window), tile]
        return Difference.combine(prove(network, floats, size) for size in sizes)


def _prove_arithmetic(
    network: Network, options: ExportOptions, on_stage: OnStage
) -> Difference | None:
    """Run the converted network in PyTorch, whose kernels compute in the precision they say."""
    if options.precision == Precision.FP32:
        return None
    tile = format_size(_proof_tile(network))
    on_stage(f"running {options.precision} in PyTorch at {tile}")
    difference = _in_precision(network, options.precision, options.made_for)
    _require(network, difference, options, f"the network in {options.precision}")
    return difference


def _in_precision(network: Network, precision: str, made_for: str) -> Difference:
    """The network in a precision, by the formula that is exported, against itself in fp32."""
    rng = np.random.default_rng(0)
    shape = (1, network.config.channels, *_proof_tile(network))
    x = torch.from_numpy(rng.random(shape, dtype=np.float32))
    converted = Deployed(_spelled(network, made_for).in_precision(precision), "float")
    with torch.inference_mode():
        expected = network(x).numpy()
        with converted.network.spelled_out():
            return compare(expected, converted(x).numpy())


def _require_same_bytes(floats: Path, rounded: Path, tile: tuple[int, int]) -> None:
    with _runtime(rounded) as engine:
        running = sized(engine, tile)
        pixels = _sample(running)
        found = running.run(pixels)
    with _runtime(floats) as engine:
        running = sized(engine, tile)
        tensor = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(255))
        expected = np.rint(np.clip(running.run(tensor), 0, 1) * 255).transpose(0, 2, 3, 1)
    wrong = int(np.count_nonzero(found != expected))
    if wrong:
        raise CheckFailed(
            f"{wrong} of {found.size} bytes of the exported graph differ from the rounded "
            "values of the same graph with floats: no file written"
        )


def _expected(network: Network, options: ExportOptions, description: Description) -> Array:
    """What the reference makes of the fixed tile, (C, H, W) float32.

    Raises:
        CheckFailed: not all of it is finite.
    """
    from hat_deploy.engines.torch import TorchEngine

    with TorchEngine(network, tile=description.tile) as reference:
        found: Array = reference.run(self_test.batch_of(reference.input))[0]
    _require(network, compare(found, found), options, "the reference")
    return found


def _fits(network: Network, description: Description) -> bool:
    """Whether a call at full size fits into memory here: ONNX Runtime stores attention's scores.

    Where it does not, the engine that the artifact is for runs its test when it is opened.
    """
    needed = network.config.process_memory(*description.tile, batch=description.batch)
    return needed["onnxruntime"] <= available_memory()


def _run_test(path: Path, test: SelfTest) -> Difference:
    """Run the file once, on the tile that it carries values of."""
    with _runtime(path) as engine:
        return self_test.run(engine, test)


def _require(network: Network, difference: Difference, options: ExportOptions, what: str) -> None:
    if difference.reference_non_finite:
        raise CheckFailed(
            f"the network itself returned {difference.reference_non_finite} values that are not "
            "finite: the checkpoint is damaged, or --img-range is not what it was trained with"
        )
    if difference.non_finite:
        raise CheckFailed(
            f"{what} returned {difference.non_finite} values that are not finite: this "
            f"checkpoint exceeds the range of {options.precision}; use "
            f"{_wide_enough(network, options)}; no file written"
        )
    if not difference.meets(options.floor):
        raise CheckFailed(
            f"{what} differs from PyTorch fp32: PSNR {difference.psnr:.1f} dB, at least "
            f"{options.floor:.0f} was expected: no file written"
        )
    if options.precision == Precision.FP32 and difference.max_abs > Precision.FP32.largest:
        raise CheckFailed(
            f"{what} differs from PyTorch by up to {difference.max_abs:.2e}, "
            f"more than {Precision.FP32.largest:.0e}: no file written"
        )


def _wide_enough(network: Network, options: ExportOptions) -> str:
    """The precisions of a wider range that hold the network, by trying them; else fp32."""
    if network.needs_assignment:
        return Precision.FP32
    found = [
        other
        for other in Precision.of(options.precision).wider
        if _in_precision(network, other, options.made_for).meets(other.floor)
    ]
    return " or ".join(found or [Precision.FP32])


@contextmanager
def _runtime(path: Path) -> Iterator[Engine]:
    """The file in ONNX Runtime; bf16 read as float32, for it has no such kernels on a CPU."""
    from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine

    with tempfile.TemporaryDirectory() as folder:
        if artifact.describe(path).precision == Precision.BF16:
            path = _without_bf16(path, Path(folder) / "wide.onnx")
        with OnnxRuntimeEngine(path) as engine:
            yield engine


def _without_bf16(source: Path, target: Path) -> Path:
    """A copy of an ONNX file with every bf16 tensor, cast and constant in float32."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.BFLOAT16:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == onnx.TensorProto.BFLOAT16:
                attribute.i = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]
    onnx.save(model, target)
    return target


def _sample(engine: Engine) -> Array:
    rng = np.random.default_rng(0)
    if engine.input.dtype == "uint8":
        return rng.integers(0, 256, engine.input.shape, np.uint8)
    return rng.random(engine.input.shape, dtype=np.float32)


def _proof_tile(network: Network) -> tuple[int, int]:
    side = round_up(PROOF_SIDE, network.config.window)
    return side, side


def _multi_adds(network: Network, options: ExportOptions) -> float:
    return options.batch * network.config.cost(*options.tile_for(network)).multi_adds


def _spelled(network: Network, made_for: str) -> Network:
    """The form of the network to convert and to trace."""
    return network.for_tensor_cores() if made_for == "tensorrt" else network


def _trace(network: Network, description: Description) -> ir.Model:
    """Trace on fake tensors: shapes are propagated, nothing is computed."""
    batch, channels, tile = description.batch, description.channels, description.tile
    if description.any_size:
        tile = (3 * description.window, 5 * description.window)
    if description.io == "uint8":
        sample = torch.empty(batch, *tile, channels, dtype=torch.uint8)
    else:
        sample = torch.empty(batch, channels, *tile)
    network = _spelled(network, description.made_for)
    ports = ports_of(description)
    averages = [torch.empty(spec.shape) for spec in ports.inputs[1:]]
    converted = network.in_precision(description.precision)
    deployed = Deployed(converted, description.io, exact=bool(averages)).eval()
    # It warns once for each operator of torchvision, which no HAT has.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                deployed,
                (sample, *averages),
                dynamo=True,
                opset_version=int(description.versions["opset"]),
                input_names=[spec.name for spec in ports.inputs],
                output_names=[spec.name for spec in ports.outputs],
                dynamic_shapes=_open_sides(description) if description.any_size else None,
                custom_translation_table=translations(),
                optimize=False,
                verbose=False,
            )
        except MemoryError:
            raise
        except Exception as error:  # whatever the code of a network by others meets there
            raise ArtifactError(untraceable(network.config.variant, error)) from error
    assert program is not None
    _simplify(program.model)
    return program.model


def _open_sides(description: Description) -> tuple[dict[int, object]]:
    """Height and width as multiples of the window.

    Of two or more for the tracing, which would take one for a constant: a shifted map of one
    window has no interior. The graph also serves that one, with interiors of size 0.
    """
    first = 1 if description.io == "uint8" else 2
    sides = (torch.export.Dim(name, min=2) for name in ("rows", "columns"))
    return ({axis: description.window * side for axis, side in enumerate(sides, first)},)


def _simplify(model: ir.Model) -> None:
    """Fold constants and drop what is unused, duplicated or only of use to a debugger.

    The exporter's own ``optimize`` also tries rewrite rules at every node, in time that grows
    with the square of the graph: 54 s for a HAT, where these passes take 5 s.
    """
    from onnx_ir.passes import PassManager, common
    from onnxscript import optimizer

    unlimited = 1 << 40
    optimizer.fold_constants(
        model,
        input_size_limit=unlimited,
        output_size_limit=unlimited,
        # Copies of a constant that is the same for many windows; engines make them when they load.
        should_fold=lambda node: False if node.op_type == "Expand" else None,
    )
    PassManager(
        [
            common.IdentityEliminationPass(),
            common.CommonSubexpressionEliminationPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.DeduplicateInitializersPass(),
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedFunctionsPass(),
            common.RemoveUnusedOpsetsPass(),
            common.ClearMetadataAndDocStringPass(),
        ]
    )(model)
