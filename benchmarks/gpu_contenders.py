"""What runs against what on a GPU, besides what the package itself has contenders for."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from independent import IndependentContender, IndependentEngine
from runs import OnStage

from hat_deploy.artifact.resolve import Checkpoint
from hat_deploy.bench.contenders import Contender, TorchContender, of_artifact, of_network
from hat_deploy.engines.base import Array, Arrays, Engine, check_batch
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import HatDeployError, UsageError
from hat_deploy.export import on_demand, to_plan
from hat_deploy.export.to_onnx import ExportOptions, describe, write
from hat_deploy.export.to_plan import BuildOptions
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.hat.network import HAT
from hat_deploy.precision import Precision

TUNED = "max-autotune"
"""A mode of ``torch.compile``: tries kernels, and records a CUDA graph."""


@dataclass(frozen=True, kw_only=True)
class CompiledContender(TorchContender):
    """The network through ``torch.compile``, for this one shape (``dynamic=False``); compiling
    happens in the first, untimed call."""

    mode: str = "default"

    def open(self, threads: int) -> Engine:
        torch._dynamo.reset()  # what was compiled for other shapes would count as a recompilation
        engine = super().open(threads)
        assert isinstance(engine, TorchEngine)
        engine._network = torch.compile(  # type: ignore[assignment]
            engine._network, mode=self.mode, dynamic=False
        )
        return engine


@dataclass(frozen=True, kw_only=True)
class PaddedContender(TorchContender):
    """The network spelled for tensor cores, heads padded to 32, and copies as an engine makes them:
    from and to page-locked memory, one wait for an event at the end."""

    def open(self, threads: int) -> Engine:
        if not torch.cuda.is_available():
            raise UsageError("this PyTorch sees no CUDA device")
        network = load_network(self.checkpoint.path, config=self.config).for_tensor_cores()
        how = {"batch": self.batch, "precision": self.precision, "device": "cuda"}
        return PinnedEngine(network, tile=self.tile, **how)

    @property
    def checkpoint(self) -> Checkpoint:
        assert isinstance(self.file, Checkpoint)
        return self.file


class PinnedEngine(TorchEngine):
    """PyTorch on a GPU with buffers that are made once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._host_in = torch.empty(self.input.shape, pin_memory=True)
        self._host_out = torch.empty(self.output.shape, pin_memory=True)
        self._done = torch.cuda.Event(blocking=True)

    @property
    def name(self) -> str:
        return f"{super().name}, padded heads, pinned copies"

    def _compute(self, batch: Arrays) -> Arrays:
        self._host_in.numpy()[...] = batch[0]
        with torch.inference_mode():
            x = self._host_in.to("cuda", non_blocking=True).to(self._dtype)
            self._host_out.copy_(self._network(x).float(), non_blocking=True)
        self._done.record()
        self._done.synchronize()
        return (self._host_out.numpy(),)

    def run(self, batch: Array) -> Array:
        return super().run(batch).copy()


@dataclass(frozen=True, kw_only=True)
class IndependentOnGpu(IndependentContender):
    """Spandrel's network on a GPU, eagerly."""

    def open(self, threads: int) -> IndependentEngine:
        return IndependentGpuEngine(self)


class IndependentGpuEngine(IndependentEngine):
    def __init__(self, contender: IndependentOnGpu) -> None:
        if not torch.cuda.is_available():
            raise UsageError("this PyTorch sees no CUDA device")
        super().__init__(contender)
        self._precision = contender.precision
        self._dtype = getattr(torch, Precision.of(self._precision).dtype)
        self._network = self._network.to("cuda", self._dtype)

    @property
    def name(self) -> str:
        return f"spandrel, torch {torch.__version__}, cuda, {self._precision}"

    def run(self, batch: Array) -> Array:
        check_batch(self.input, batch)
        with torch.inference_mode():
            x = torch.from_numpy(batch).to("cuda", self._dtype)
            return np.ascontiguousarray(self._network(x).float().cpu().numpy())


def exported(network: HAT, folder: Path, name: str, options: ExportOptions) -> Path:
    """The network as ``.onnx``, from ``folder`` where an earlier run left it. Not proved here."""
    assert options.tile is not None
    size = f"{options.tile[0]}x{options.tile[1]}-{options.batch}"
    kind = f"{options.precision}-{options.io}-{options.made_for}"
    path = folder / f"{name}-{size}-{kind}.onnx"
    if not path.is_file():
        write(network, path, describe(network, options, model=name, checkpoint_sha256="0" * 64))
    return path


def contenders(
    network: HAT,
    folder: Path,
    name: str,
    tile: tuple[int, int],
    batch: int,
    on_stage: OnStage,
) -> tuple[list[Contender], dict[str, str]]:
    """Everything that may run, the baseline (PyTorch, eager fp16) first; and what may not.

    Args:
        folder: holds ``NAME.pth`` in the authors' layout.

    Returns:
        Contenders, and by label why others are absent.
    """
    found: list[Contender] = []
    absent: dict[str, str] = {}
    checkpoint = Checkpoint(folder / f"{name}.pth", name)

    def export(precision: str, io: str = "float", made_for: str = "any") -> Path:
        on_stage(f"exporting in {precision}, {io}, for {made_for}")
        options = ExportOptions(
            tile=tile, batch=batch, precision=precision, io=io, made_for=made_for
        )
        return exported(network, folder, name, options)

    files = {"fp32": export("fp32"), "fp16": export("fp16"), "fp16 bytes": export("fp16", "uint8")}
    graphs = [of_artifact(p, label=f"onnxruntime {n}", device="cuda") for n, p in files.items()]
    like = graphs[0]

    def eager(precision: str) -> TorchContender:
        label = f"torch {precision}"
        return of_network(like, label=label, checkpoint=checkpoint, precision=precision)

    found += [eager("fp16"), eager("bf16"), eager("fp32")]
    for precision in ("fp32", "fp16"):
        shared = {field.name: getattr(eager(precision), field.name) for field in fields(Contender)}
        found.append(IndependentOnGpu(**shared | {"label": f"spandrel {precision}"}))
    same = {field.name: getattr(eager("fp16"), field.name) for field in fields(TorchContender)}
    found.append(PaddedContender(**same | {"label": "torch fp16 padded, pinned"}))
    for mode, label in (("default", "torch.compile fp16"), (TUNED, f"torch.compile fp16 {TUNED}")):
        found.append(CompiledContender(**same | {"label": label, "mode": mode}))
    found += graphs
    target = on_demand.plan_target(on_stage)
    for label, io in (("TensorRT fp16", "float"), ("TensorRT fp16 bytes", "uint8")):
        if target is None:
            absent[label] = "there is none here that builds for this GPU"
            continue
        source = export("fp16", io, "tensorrt")
        on_stage("building a plan")
        try:
            found.append(_plan(source, target.flavour, label))
        except HatDeployError as reason:
            absent[label] = str(reason)
    return found, absent


def _plan(source: Path, flavour: str, label: str) -> Contender:
    path = source.with_suffix(".plan")
    to_plan.build(source, path, BuildOptions(flavour=flavour))
    return of_artifact(path, label=label)


def those_that_run(
    candidates: list[Contender], absent: dict[str, str], on_stage: OnStage
) -> list[Contender]:
    """Try one batch with each; why one fails goes into ``absent``."""
    running = []
    for contender in candidates:
        on_stage(f"trying {contender.label}")
        begun = time.perf_counter()
        try:
            with contender.open(1) as engine:
                engine.run(np.zeros(engine.input.shape, engine.input.dtype))
        except (HatDeployError, ImportError, RuntimeError) as reason:
            # RuntimeError is torch's: out of memory, or what it cannot compile.
            absent[contender.label] = " ".join(str(reason).split())[:300]
        else:
            on_stage(f"{contender.label}: {time.perf_counter() - begun:.1f} s to open and run once")
            running.append(contender)
        torch.cuda.empty_cache()
    return running
