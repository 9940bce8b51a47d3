"""Network to ONNX, proved against the network before anyone may use it."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy import __version__
from hat_deploy.artifact import METADATA_KEY, Description
from hat_deploy.engines.base import Array, Engine
from hat_deploy.errors import ArtifactError, CheckFailed, MissingExtraError, UsageError
from hat_deploy.files import replacing
from hat_deploy.geometry import check_tile, default_halo, round_up
from hat_deploy.metrics import Difference, compare

if TYPE_CHECKING:
    import onnx_ir as ir

    from hat_deploy.hat.network import HAT

try:
    import onnx
    import torch
except ImportError as error:
    raise MissingExtraError(error.name or "torch", "export", "Exporting") from error

TOLERANCE = 1e-4
"""Largest absolute difference from the reference that an fp32 artifact may show."""
CHEAP_MULTI_ADDS = 250e9
"""Up to this many multi-adds (two 64x64 tiles of HAT x4) the proof runs at full size."""
PROOF_SIDE = 64
OLDEST_OPSET, NEWEST_OPSET = 18, 22

OnStage = Callable[[str], None]
"""Told what is being done, for a progress display."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What shape of artifact to make.

    Sizes are checked against the network when it is exported.
    """

    tile: tuple[int, int] = (256, 256)
    """Height and width of the input, halo included; multiples of the window."""
    batch: int = 1
    """Tiles in one call."""
    halo: int | None = None
    """Default halo the artifact carries; None chooses one."""
    opset: int = 20
    """ONNX operator set; 20 is the first with Gelu."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"batch is {self.batch}; it must be at least 1")
        if not OLDEST_OPSET <= self.opset <= NEWEST_OPSET:
            raise UsageError(
                f"opset {self.opset} is not supported: use {OLDEST_OPSET} to {NEWEST_OPSET}"
            )


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was made, and what was proved about it."""

    path: Path
    description: Description
    bytes: int
    seconds: float
    proof: Difference
    """ONNX Runtime against the PyTorch reference."""
    proof_tile: tuple[int, int]
    """Where the proof was made: the export's own tile, or a smaller one."""

    @property
    def proved_at_full_size(self) -> bool:
        """Whether the very file was compared, not a smaller sibling of the same builder."""
        return self.proof_tile == self.description.tile


def export_onnx(
    network: HAT,
    target: Path,
    options: ExportOptions,
    *,
    model: str,
    checkpoint_sha256: str,
    prove_full: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> ExportReport:
    """Write ``network`` as a self-describing ONNX file that computes what it computes.

    The file is run once in ONNX Runtime and must give finite values. Its difference from the
    network is measured on the file itself where that is cheap (or ``prove_full``), else on a
    64x64 export by the same builder.

    Args:
        network: with weights loaded; it is frozen in place.
        target: replaced in one step, only once every check has passed.
        model: name for the description.
        checkpoint_sha256: of the file the weights came from.

    Raises:
        UsageError: tile, batch, halo or opset do not fit the network.
        CheckFailed: the values differ by more than ``TOLERANCE``; no file is left.
        ArtifactError: the written file does not pass ``onnx.checker``, or cannot be run.
    """
    started = time.monotonic()
    network.freeze()
    described = describe(network, options, model=model, checkpoint_sha256=checkpoint_sha256)
    with replacing(target) as partial:
        on_stage(f"tracing at {options.tile[1]}x{options.tile[0]}")
        write(network, partial, described, options.opset)
        on_stage("running it once in ONNX Runtime")
        cheap = _multi_adds(network, options) <= CHEAP_MULTI_ADDS
        if cheap or prove_full:
            proof, proof_tile = prove(network, partial), options.tile
        else:
            _run_once(partial)
            proof_tile = _proof_tile(network)
            on_stage(f"comparing with PyTorch at {proof_tile[1]}x{proof_tile[0]}")
            proof = _prove_sibling(network, options, proof_tile)
        _require(proof)
    return ExportReport(
        path=target,
        description=described,
        bytes=target.stat().st_size,
        seconds=time.monotonic() - started,
        proof=proof,
        proof_tile=proof_tile,
    )


def describe(
    network: HAT, options: ExportOptions, *, model: str, checkpoint_sha256: str
) -> Description:
    """The description an export with these options carries.

    Raises:
        UsageError: tile or halo do not fit the network's window.
    """
    config = network.config
    halo = options.halo
    if halo is None:
        halo = default_halo(options.tile, config.window_size)
    check_tile(options.tile, halo, config.window_size)
    return Description(
        model=model,
        config=config.to_dict(),
        scale=config.scale,
        window=config.window_size,
        channels=config.in_channels,
        tile=options.tile,
        batch=options.batch,
        halo=halo,
        precision="fp32",
        io="float",
        checkpoint_sha256=checkpoint_sha256,
        versions={
            "hat-deploy": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxscript": version("onnxscript"),
            "opset": str(options.opset),
        },
    )


def write(network: HAT, path: Path, description: Description, opset: int) -> None:
    """Trace the network at the description's shape and write the checked file.

    Raises:
        ArtifactError: the file does not pass ``onnx.checker`` with full checks.
    """
    model = _trace(network, description.tile, description.batch, opset)
    model.metadata_props[METADATA_KEY] = description.to_json()
    model.producer_name = "hat-deploy"
    model.producer_version = __version__
    import onnx_ir as ir

    ir.save(model, path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # ValidationError and shape inference's own share no base
        raise ArtifactError(f"the exported graph is not valid ONNX: {error}") from error


def prove(network: HAT, path: Path) -> Difference:
    """Compare an ONNX file with the network on one seeded batch at the file's own size."""
    from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine
    from hat_deploy.engines.torch import TorchEngine

    with OnnxRuntimeEngine(path) as engine:
        batch = _sample(engine)
        candidate = engine.run(batch)
        tile = engine.input.size
    with TorchEngine(network, tile=tile, batch=len(batch)) as reference:
        return compare(reference.run(batch), candidate)


def _prove_sibling(network: HAT, options: ExportOptions, tile: tuple[int, int]) -> Difference:
    sibling = ExportOptions(tile=tile, opset=options.opset)
    description = describe(network, sibling, model="proof", checkpoint_sha256="")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proof.onnx"
        write(network, path, description, options.opset)
        return prove(network, path)


def _run_once(path: Path) -> None:
    from hat_deploy.engines.onnxruntime import OnnxRuntimeEngine

    with OnnxRuntimeEngine(path) as engine:
        bad = int(np.count_nonzero(~np.isfinite(engine.run(_sample(engine)))))
    if bad:
        raise CheckFailed(f"the exported graph returned {bad} values that are not finite")


def _require(proof: Difference) -> None:
    if proof.reference_non_finite:
        raise CheckFailed(
            f"the network itself returned {proof.reference_non_finite} values that are not "
            "finite: the checkpoint is damaged, or --img-range is not what it was trained with"
        )
    if proof.non_finite or proof.max_abs > TOLERANCE:
        raise CheckFailed(
            f"the exported graph differs from PyTorch by up to {proof.max_abs:.2e} "
            f"({proof.non_finite} values not finite), more than {TOLERANCE:.0e}: no file written"
        )


def _sample(engine: Engine) -> Array:
    rng = np.random.default_rng(0)
    return rng.random(engine.input.shape, dtype=np.float32)


def _proof_tile(network: HAT) -> tuple[int, int]:
    side = round_up(PROOF_SIDE, network.config.window_size)
    return side, side


def _multi_adds(network: HAT, options: ExportOptions) -> float:
    from hat_deploy.hat.cost import cost

    return options.batch * cost(network.config, *options.tile).multi_adds


def _trace(network: HAT, tile: tuple[int, int], batch: int, opset: int) -> ir.Model:
    """Trace on fake tensors: shapes are propagated, nothing is computed."""
    sample = torch.empty(batch, network.config.in_channels, *tile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (sample,),
            dynamo=True,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            optimize=False,
            verbose=False,
        )
    assert program is not None
    _simplify(program.model)
    return program.model


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
        # A position bias plus a mask, folded, is stored once per mask: half the file again.
        should_fold=lambda node: False if node.op_type == "Add" else None,
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
