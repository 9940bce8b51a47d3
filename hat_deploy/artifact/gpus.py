"""How fast named GPUs can be at most, and an estimate of a plan's time on them from that.

From NVIDIA's data sheets (T4, A10, A100, L4, L40S) and architecture papers (GA102, Ada, RTX
Blackwell): memory bandwidth, products of fp16 or bf16 summed in fp32 on tensor cores without
sparsity, and fp32 outside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from hat_deploy.artifact.launches import Program
from hat_deploy.precision import Precision


@dataclass(frozen=True)
class GPU:
    """One GPU's limits."""

    name: str
    target: str
    """Its generation, such as ``sm89``."""
    bandwidth: float
    """GB of memory a second."""
    half: float
    """TFLOP a second in fp16 or bf16."""
    single: float
    """TFLOP a second in fp32."""

    def seconds(self, program: Program, flop: float, precision: str) -> float:
        """An estimate for one call, as if nothing but bandwidth or peak limited it.

        Real kernels reach neither; but what stays in a cache between two of them, as much of a
        small tile does, is counted as moved.

        Args:
            program: what is launched.
            flop: floating-point operations of one call.
            precision: of the artifact.
        """
        peak = self.single if precision == Precision.FP32 else self.half
        return max(program.bytes / (self.bandwidth * 1e9), flop / (peak * 1e12))


GPUS = (
    GPU("T4", "sm75", 300, 65, 8.1),
    GPU("A100 80GB SXM", "sm80", 2039, 312, 19.5),
    GPU("A10", "sm86", 600, 125, 31.2),
    GPU("RTX 3090", "sm86", 936, 71, 35.6),
    GPU("L4", "sm89", 300, 121, 30.3),
    GPU("L40S", "sm89", 864, 362, 91.6),
    GPU("RTX 4090", "sm89", 1008, 165.2, 82.6),
    GPU("RTX 5090", "sm120", 1792, 209.5, 104.8),
)


def of(targets: tuple[str, ...]) -> tuple[GPU, ...]:
    """Those of some generations."""
    return tuple(gpu for gpu in GPUS if gpu.target in targets)
