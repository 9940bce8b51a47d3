"""What was found when an artifact was compared with the reference after every block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hat_deploy.metrics import Difference
from hat_deploy.precision import Precision

JUMP = 4.0
"""A block stands out when the error after it is this many times the one before it, and this many
times what is usual."""
USUAL_BYTES = 2e-3
"""Relative error that a sound artifact reaches in an output of bytes, where a value may round to
either side of a step. For other blocks it is :attr:`hat_deploy.precision.Precision.usual`."""


@dataclass(frozen=True, kw_only=True)
class BlockDifference:
    """The values that leave one block, in the artifact and in the reference."""

    block: str
    """Its name in the network, ``layers.0.residual_group.blocks.1``."""
    kind: str
    """``HAB``, ``OCAB`` or ``RHAG`` (or what another network has), ``conv``, ``norm``, ``output``
    or ``bytes``."""
    difference: Difference
    """Value by value, in the reference's own range, which is not 0 to 1."""
    rms: float
    """Root of the mean square of the reference's values."""
    peak: float
    """The reference's largest absolute value."""
    artifact_peak: float
    """The artifact's; infinite where it has values that are not finite."""

    @property
    def relative(self) -> float:
        """RMS of the error over RMS of the reference; ``inf`` with values that are not finite."""
        found = self.difference
        if found.compared < found.count:
            return math.inf
        error = math.sqrt(found.sum_squares / found.compared)
        return error / self.rms if self.rms else (math.inf if error else 0.0)

    @property
    def psnr(self) -> float:
        """In dB, the peak being the reference's own."""
        error = self.difference.sum_squares
        if not error or not self.peak:
            return math.inf if not error else -math.inf
        mean = error / self.difference.compared
        return 20 * math.log10(self.peak) - 10 * math.log10(mean)

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types; what is not finite is null."""
        figures = {
            "psnr": self.psnr,
            "max_abs": self.difference.max_abs,
            "relative": self.relative,
            "rms": self.rms,
            "peak": self.peak,
            "artifact_peak": self.artifact_peak,
        }
        told = {name: v if math.isfinite(v) else None for name, v in figures.items()}
        return {
            "block": self.block,
            "kind": self.kind,
            **told,
            "non_finite": self.difference.non_finite,
        }


@dataclass(frozen=True, kw_only=True)
class LayersReport:
    """All blocks, in the order data meets them."""

    picture: str
    engine: str
    """What ran the artifact: always ONNX Runtime on the CPU, whatever engine it is for."""
    precision: str
    """One whose usual error is known."""
    blocks: tuple[BlockDifference, ...]

    @property
    def usual(self) -> float:
        """Relative error that a sound artifact of this precision reaches anywhere."""
        usual = Precision.of(self.precision).usual
        assert usual is not None
        return usual

    @property
    def offender(self) -> BlockDifference | None:
        """The first block after which the error is far above what it was before, or infinite."""
        before = self.usual
        for block in self.blocks:
            if block.kind == "bytes":
                before = max(before, USUAL_BYTES)
            if block.relative > JUMP * before:
                return block
            before = max(before, block.relative)
        return None

    @property
    def summary(self) -> str:
        """The finding in a sentence."""
        found = self.offender
        if found is None:
            return "no block stands out: the error is what the precision's own rounding leaves"
        if math.isinf(found.relative):
            return f"first offender: {found.block} ({found.kind}): values are not finite after it"
        return (
            f"first offender: {found.block} ({found.kind}): the relative error rises to "
            f"{found.relative:.1e} there"
        )

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types."""
        return {
            "picture": self.picture,
            "engine": self.engine,
            "offender": self.offender.block if self.offender else None,
            "summary": self.summary,
            "jump": JUMP,
            "usual": self.usual,
            "blocks": [block.to_dict() for block in self.blocks],
        }
