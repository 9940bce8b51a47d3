"""What runs against what on a GPU, besides what the package itself has contenders for."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from independent import IndependentContender, IndependentEngine
from runs import OnStage

from hat_deploy.artifact.resolve import Checkpoint
from hat_deploy.bench.contenders import Contender, TorchContender, of_artifact, of_network
from hat_deploy.engines.base import Array, Engine, check_batch
from hat_deploy.engines.torch import TorchEngine
from hat_deploy.errors import HatDeployError, UsageError
from hat_deploy.export import on_demand, to_plan
from hat_deploy.export.to_onnx import ExportOptions, describe, write
from hat_deploy.export.to_plan import BuildOptions
from hat_deploy.networks.hat.network import HAT
from hat_deploy.precision import Precision


@dataclass(frozen=True, kw_only=True)
class CompiledContender(TorchContender):
    """The network through ``torch.compile``; compiling happens in the first, untimed call."""

    def open(self, threads: int) -> Engine:
        engine = super().open(threads)
        assert isinstance(engine, TorchEngine)
        engine._network = torch.compile(engine._network)  # type: ignore[assignment]
        return engine


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


def exported(
    network: HAT, folder: Path, name: str, tile: tuple[int, int], batch: int, precision: str
) -> Path:
    """The network as ``.onnx``, from ``folder`` where an earlier run left it. Not proved here."""
    path = folder / f"{name}-{tile[0]}x{tile[1]}-{batch}-{precision}.onnx"
    if not path.is_file():
        options = ExportOptions(tile=tile, batch=batch, precision=precision)
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
    files = {}
    for precision in ("fp32", "fp16"):
        on_stage(f"exporting in {precision}")
        files[precision] = exported(network, folder, name, tile, batch, precision)
    graphs = [of_artifact(p, label=f"onnxruntime {n}", device="cuda") for n, p in files.items()]
    like = graphs[0]

    def eager(precision: str) -> TorchContender:
        label = f"torch {precision}"
        return of_network(like, label=label, checkpoint=checkpoint, precision=precision)

    found += [eager("fp16"), eager("bf16"), eager("fp32")]
    for precision in ("fp32", "fp16"):
        shared = {field.name: getattr(eager(precision), field.name) for field in fields(Contender)}
        found.append(IndependentOnGpu(**shared | {"label": f"spandrel {precision}"}))
    compiled = {field.name: getattr(eager("fp16"), field.name) for field in fields(TorchContender)}
    found.append(CompiledContender(**compiled | {"label": "torch.compile fp16"}))
    found += graphs
    target = on_demand.plan_target(on_stage)
    if target is None:
        absent["TensorRT fp16"] = "there is none here that builds for this GPU"
    else:
        on_stage("building a plan")
        try:
            found.append(_plan(files["fp16"], target.flavour))
        except HatDeployError as reason:
            absent["TensorRT fp16"] = str(reason)
    return found, absent


def _plan(source: Path, flavour: str) -> Contender:
    path = source.with_suffix(".plan")
    to_plan.build(source, path, BuildOptions(flavour=flavour))
    return of_artifact(path, label="TensorRT fp16")


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
