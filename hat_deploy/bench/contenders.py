"""What is compared: engines described well enough to open them, here or in a child process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from hat_deploy import engines
from hat_deploy.artifact import Artifact
from hat_deploy.artifact.resolve import Checkpoint
from hat_deploy.engines.base import Engine
from hat_deploy.errors import ArtifactError
from hat_deploy.networks import Shape, shape_of
from hat_deploy.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Contender(ABC):
    """One engine to be. It can be pickled, so that a child process can open it too."""

    label: str
    """Short, and different from the others'."""
    config: Shape
    tile: tuple[int, int]
    """Height and width of the input, halo included."""
    batch: int
    halo: int
    precision: str
    """``fp32``, ``fp16``, ``bf16`` or ``fp16-pure``."""
    device: str
    """``cpu`` or ``cuda``."""
    file: Artifact | Checkpoint | None
    """Artifact or checkpoint; None for seeded weights."""

    @property
    def arithmetic(self) -> str:
        """What matrix products are computed in: ``fp32``, ``fp16`` or ``bf16``."""
        return Precision.of(self.precision).arithmetic

    @abstractmethod
    def open(self, threads: int) -> Engine:
        """Load the engine, with that many threads on a CPU.

        Raises:
            HatDeployError: it cannot be loaded on this machine.
        """


@dataclass(frozen=True, kw_only=True)
class ArtifactContender(Contender):
    """An ``.onnx`` or ``.plan``; make one with :func:`of_artifact`."""

    backend: str | None = None
    compute: str | None = None
    """See :func:`hat_deploy.engines.open_artifact`."""

    @property
    def artifact(self) -> Artifact:
        """The file."""
        assert isinstance(self.file, Artifact)
        return self.file

    def open(self, threads: int) -> Engine:
        """Load the artifact."""
        return engines.open_artifact(
            self.artifact,
            device=self.device,
            threads=threads,
            backend=self.backend,
            compute=self.compute,
        )


@dataclass(frozen=True, kw_only=True)
class TorchContender(Contender):
    """The network itself in PyTorch, with a checkpoint's weights or seeded ones."""

    def open(self, threads: int) -> Engine:
        """Build the network and fill it.

        Raises:
            MissingExtraError: PyTorch is not installed.
            CheckpointError: the weights do not fit ``config``.
        """
        from hat_deploy.engines.torch import TorchEngine

        import torch  # isort: skip  (after the import that names the extra to install)

        from hat_deploy.networks.checkpoint import build, load_network

        torch.set_num_threads(threads)
        if self.file is not None:
            network = load_network(self.file.path, config=self.config)
        else:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = build(self.config)
        return TorchEngine(
            network,
            tile=self.tile,
            batch=self.batch,
            precision=self.precision,
            device=self.device,
        )


def of_artifact(
    named: Path | Artifact,
    *,
    label: str,
    device: str = "cpu",
    halo: int | None = None,
    backend: str | None = None,
    compute: str | None = None,
) -> ArtifactContender:
    """A contender from an artifact's own description; a plan runs on CUDA whatever is asked.

    Args:
        backend, compute: see :func:`hat_deploy.engines.open_artifact`.

    Raises:
        ArtifactError: the file is no artifact.
    """
    artifact = Artifact.of(named)
    path, described = artifact.path, artifact.description
    try:
        config = shape_of(described.config)
    except ValueError as error:
        raise ArtifactError(f"{path} describes no network ({error}): export it again") from error
    return ArtifactContender(
        label=label,
        config=config,
        tile=described.tile,
        batch=described.batch,
        halo=described.halo if halo is None else halo,
        precision=compute or described.precision,
        device="cuda" if artifact.is_plan else device,
        file=artifact,
        backend=backend,
        compute=compute,
    )


def of_network(
    like: Contender, *, label: str, checkpoint: Checkpoint | None, precision: str = Precision.FP32
) -> TorchContender:
    """The network in PyTorch, of the same shape, tile, batch, halo and device as ``like``."""
    return TorchContender(
        label=label,
        config=like.config,
        tile=like.tile,
        batch=like.batch,
        halo=like.halo,
        precision=precision,
        device=like.device,
        file=checkpoint,
    )
