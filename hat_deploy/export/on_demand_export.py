"""One artifact to be made from a checkpoint and kept: what it depends on, and the making."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hat_deploy import artifact
from hat_deploy.artifact.resolve import Checkpoint
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.files import sha256
from hat_deploy.geometry import check_tile, default_halo
from hat_deploy.networks.unstored import CONFIG_NAME, PUBLISHED, Unstored
from hat_deploy.terminal.progress import OnStage
from hat_deploy.version import __version__

if TYPE_CHECKING:
    from hat_deploy.export.to_onnx import ExportReport
    from hat_deploy.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class PlanTarget:
    """The TensorRT that builds and runs a plan, and the GPU it is for."""

    flavour: str
    version: str
    sm: str
    gpu: str
    """The GPU's name: TensorRT tunes for the model, not only for its generation."""


class OfOneSize(UsageError):
    """The graph of this network holds for one size."""


@dataclass(frozen=True, kw_only=True)
class OnDemandExport:
    """An export that is not asked for by itself: from which checkpoint, and to what."""

    checkpoint: Checkpoint
    tile: tuple[int, int] | None
    """None: what ``export`` takes by default."""
    batch: int
    """Tiles in one call."""
    io: str
    precisions: tuple[str, ...]
    """Tried in turn until one passes its proof; the last one's failure stands."""
    target: PlanTarget | None
    """None: the ``.onnx`` is the artifact."""
    exact: bool = False
    """Whether it takes and gives averages."""
    any_size: bool = False
    """Whether height and width are left open; the tile is then chosen when it is run."""
    unstored: Unstored = PUBLISHED
    """What the checkpoint does not store, where it was given."""

    @property
    def suffix(self) -> str:
        """Of the artifact."""
        return ".plan" if self.target else ".onnx"

    @property
    def made_from(self) -> dict[str, Any]:
        """Everything the content depends on, as JSON types; needs no torch to be known."""
        return {
            "weights": self.checkpoint.sha256,
            "hat-deploy": __version__,
            "format": artifact.FORMAT,
            "name": self.checkpoint.name,
            "tile": None if self.any_size else self.tile,
            "any_size": self.any_size,
            "batch": self.batch,
            "io": self.io,
            "precisions": self.precisions,
            "exact": self.exact,
            "target": asdict(self.target) if self.target else None,
            "unstored": self.unstored.given,
            "beside": _beside(self.checkpoint.path),
        } | ({} if self.checkpoint.origin is None else {"origin": self.checkpoint.origin})

    def make(
        self, path: Path, on_stage: OnStage, on_warning: OnStage = lambda warning: None
    ) -> None:
        """Export, prove and, where there is a target, build.

        Raises:
            MissingExtraError: exporting takes PyTorch.
            CheckpointError, CheckFailed, ArtifactError: it cannot be made.
            UsageError: the tile does not fit the network.
            OfOneSize: it is to be of any size, and cannot be.
        """
        import hat_deploy.export.to_onnx  # noqa: F401 - first: it says what is missing
        from hat_deploy.networks.checkpoint import load_network

        if self.target:
            duration = Flavour.of(self.target.flavour).duration
            on_stage(f"building a plan for {self.target.gpu}, once, {duration}")
        network = load_network(self.checkpoint.path, **self.unstored.given)
        if self.any_size and not network.config.any_size:
            raise OfOneSize(f"the graph of {self.checkpoint.path} holds for one size")
        if self.tile is not None:  # before minutes of tracing, which may be of any size
            window = network.config.window
            check_tile(self.tile, default_halo(self.tile, window), window)
        *preferred, last = self.precisions
        for precision in preferred:
            try:
                report = self._make(network, precision, path, on_stage)
            except CheckFailed as reason:
                on_stage(f"{precision} cannot be used ({reason})")
            else:
                break
        else:
            report = self._make(network, last, path, on_stage)
        for warning in report.warnings:
            on_warning(warning)

    def _make(
        self, network: Network, precision: str, path: Path, on_stage: OnStage
    ) -> ExportReport:
        if self.target is None:
            return self._export(network, precision, path, on_stage)
        from hat_deploy.export import to_plan

        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / f"{self.checkpoint.name}.onnx"
            report = self._export(network, precision, source, on_stage)
            options = to_plan.BuildOptions(flavour=self.target.flavour)
            to_plan.build(source, path, options, expected=report.expected, on_stage=on_stage)
        return report

    def _export(
        self, network: Network, precision: str, path: Path, on_stage: OnStage
    ) -> ExportReport:
        from hat_deploy.export import to_onnx

        options = to_onnx.ExportOptions(
            tile=None if self.any_size else self.tile,
            any_size=self.any_size,
            precision=precision,
            io=self.io,
            batch=self.batch,
            made_for="tensorrt" if self.target else "any",
            exact=self.exact,
        )
        return to_onnx.export_onnx(
            network,
            path,
            options,
            model=self.checkpoint.name,
            checkpoint_sha256=self.checkpoint.sha256,
            origin=self.checkpoint.origin,
            on_stage=on_stage,
        )


def _beside(checkpoint: Path) -> str | None:
    """The hash of the ``config.json`` beside a checkpoint, which may say what it does not."""
    path = checkpoint.parent / CONFIG_NAME
    return sha256(path) if path.is_file() else None
