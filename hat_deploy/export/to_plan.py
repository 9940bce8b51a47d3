"""ONNX to a TensorRT plan: in a process of its own, described by itself, read back at the end.

No TensorRT is imported here: the library that builds is loaded by
:mod:`hat_deploy.export.plan_builder`, which this module starts and can end at any moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from hat_deploy import artifact, engines
from hat_deploy.artifact import Description
from hat_deploy.artifact.launches import Program, read_programs
from hat_deploy.engines import cuda, self_test
from hat_deploy.engines.base import Array
from hat_deploy.engines.cuda.driver import local_gpu
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import ArtifactError, CheckFailed, UsageError, install_command
from hat_deploy.export import timings
from hat_deploy.export.plan_builder import Order
from hat_deploy.files import replacing
from hat_deploy.metrics import Difference
from hat_deploy.precision import Precision
from hat_deploy.terminal.progress import OnStage


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Which library builds, and for what."""

    gpus: tuple[str, ...] = ()
    """Targets such as ``sm89``; empty: the GPU in this machine."""
    flavour: str | None = None
    """``tensorrt`` or ``rtx``; None takes the one that is installed and can build here."""

    def __post_init__(self) -> None:
        if self.flavour not in (None, *Flavour):
            raise UsageError(f"flavour {self.flavour}: use one of {', '.join(Flavour)}")
        unknown = [gpu for gpu in self.gpus if gpu not in Flavour.RTX.targets]
        if unknown:
            raise UsageError(f"--gpu {','.join(unknown)}: use {', '.join(Flavour.RTX.targets)}")


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """A plan that was built; it was run where this machine has its GPU."""

    path: Path
    description: Description
    bytes: int
    seconds: float
    programs: tuple[Program, ...] | None
    """What it launches on the GPUs it was built for; None: unknown."""
    proof: Difference | None
    """The plan itself, run here, against the reference; None where no GPU here runs it."""
    proved_by: str | None = None
    """The engine that ran it."""

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types."""
        known = None
        if self.programs is not None:
            known = [program.to_dict() for program in self.programs]
        return {
            "path": str(self.path),
            "description": asdict(self.description),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "programs": known,
            "proof": None if self.proof is None else self.proof.to_dict(),
            "proved_by": self.proved_by,
        }


def build(
    source: Path,
    target: Path,
    options: BuildOptions | None = None,
    *,
    expected: Array | None = None,
    on_stage: OnStage = lambda stage: None,
) -> BuildReport:
    """Build a self-describing plan from an artifact's ONNX file, and prove it where it can run.

    The build runs in a child process; on Ctrl-C, or any error, it is killed and nothing is
    left. TF32 is off for an fp32 artifact; for the others the products left in fp32 may take
    it, which has the range of fp32 and the precision of fp16.

    Args:
        source: an ``.onnx`` file made by ``hat-deploy export``.
        target: the ``.plan`` file, replaced in one step when it is whole and proved.
        expected: what the reference makes of the artifact's test tile, to compare all of it;
            without it the values that the artifact carries are compared.

    Raises:
        CheckFailed: the plan runs here and computes something else; no file is left.
        UsageError: there is no GPU here and none was named, or the library cannot build for
            the ones named.
        MissingExtraError: no TensorRT is installed.
        ArtifactError: the file is none of ours, or TensorRT refuses it; the message has its
            reasons and the layer.
    """
    started = time.monotonic()
    options = options or BuildOptions()
    described = artifact.describe(source)
    flavour, module, targets = choose(options)
    described = replace(described, targets=targets, any_size=False, assignment=None)
    with replacing(target) as partial, timings.shared(flavour) as timed:
        order = Order(
            flavour=flavour,
            module=module,
            onnx=str(source),
            plan=str(partial),
            description=described.to_json(),
            targets=targets if flavour.targets else (),
            tf32=described.precision != Precision.FP32,
            timings=str(timed or ""),
        )
        _run(order, on_stage)
        on_stage("reading the plan back")
        described = _read_back(partial, described)
        programs = read_programs(partial)
        proof, proved_by = _prove(partial, described, expected, on_stage)
    return BuildReport(
        path=target,
        description=described,
        bytes=target.stat().st_size,
        seconds=time.monotonic() - started,
        programs=programs,
        proof=proof,
        proved_by=proved_by,
    )


def _prove(
    plan: Path, described: Description, expected: Array | None, on_stage: OnStage
) -> tuple[Difference | None, str | None]:
    """Run a plan that was built for the GPU in this machine, and compare.

    Raises:
        CheckFailed: it differs by more than its precision may.
    """
    test = described.self_test
    if test is None or local_gpu() not in described.targets or not cuda.installed():
        return None, None
    on_stage("running the plan and comparing it with the reference")
    with engines.open_artifact(plan, self_test=False) as engine:
        found = self_test.run(engine, test, expected)
        name = engine.name
    floor = test.floor - (self_test.MARGIN if expected is None else 0)
    if not found.meets(floor):
        was = "values that are not finite" if found.non_finite else f"PSNR {found.psnr:.1f} dB"
        raise CheckFailed(
            f"the plan was built and does not compute what the reference does: {was} in {name}, "
            f"and at least {floor:.0f} dB was expected: no file written; use another --precision"
        )
    return found, name


def choose(options: BuildOptions) -> tuple[Flavour, str, tuple[str, ...]]:
    """The flavour to build with, the name its library is imported by, and the GPUs to build for.

    RTX where a target is named, for only it builds for absent GPUs; otherwise TensorRT where
    it is installed.

    Raises:
        MissingExtraError: it is not installed.
        UsageError: ``tensorrt`` is asked to build for a GPU by name, there is no GPU here and
            none was named, or it is none that ``rtx`` builds for.
    """
    flavour, module = _installed(options)
    targets = options.gpus or (_require_local_gpu(),)
    if not all(map(flavour.builds_for, targets)):
        raise UsageError(
            f"{flavour.label} does not build for this machine's GPU, {targets[0]}, only for "
            f"{', '.join(flavour.targets)}: name one of those with --gpu, or, for TensorRT, which "
            f"does, {install_command(Flavour.TENSORRT.extra)}"
        )
    return flavour, module, targets


def _installed(options: BuildOptions) -> tuple[Flavour, str]:
    if options.flavour == Flavour.TENSORRT and options.gpus:
        raise UsageError(
            "TensorRT builds for the GPU in the machine: leave --gpu out, or use --flavour rtx"
        )
    wanted = [Flavour.RTX] if options.gpus else [*Flavour]
    if options.flavour:
        wanted = [Flavour.of(options.flavour)]
    chosen = next((flavour for flavour in wanted if flavour.installed), wanted[-1])
    return chosen, chosen.module("Building a plan")


def _require_local_gpu() -> str:
    gpu = local_gpu()
    if gpu is None:
        raise UsageError(
            "this machine has no GPU to build a plan for: name the targets with --gpu, one or "
            f"several of {','.join(Flavour.RTX.targets)} ({Flavour.RTX.label} builds for those "
            f"anywhere; if need be, {install_command(Flavour.RTX.extra)})"
        )
    return gpu


def _run(order: Order, on_stage: OnStage) -> None:
    """Let a child process build.

    Raises:
        ArtifactError: it reports an error, or ends without a word.
    """
    with tempfile.TemporaryFile() as complaints, _child(order, complaints) as child:
        assert child.stdout is not None
        for line in child.stdout:
            message = json.loads(line)
            if "stage" in message:
                on_stage(message["stage"])
            elif "error" in message:
                raise ArtifactError(message["error"])
            else:
                return
        complaints.seek(0)
        last = complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ArtifactError(
            f"the TensorRT builder ended with status {child.wait()} before it was done "
            f"({''.join(last) or 'it gave no reason'}); if memory ran out, use a smaller tile"
        )


@contextmanager
def _child(order: Order, complaints: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The builder's process, in a session of its own: Ctrl-C reaches only us, and we kill it."""
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    child = subprocess.Popen(
        [sys.executable, "-m", "hat_deploy.export.plan_builder", order.to_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        with child:
            try:
                yield child
            finally:
                child.kill()
    finally:
        child.wait()


def _read_back(plan: Path, ordered: Description) -> Description:
    """What the plan says about itself, which must be what was ordered plus a version."""
    found = artifact.describe(plan)
    if replace(found, versions=ordered.versions) != ordered:
        raise ArtifactError(f"TensorRT wrote a plan whose description differs: {found.to_json()}")
    return found
