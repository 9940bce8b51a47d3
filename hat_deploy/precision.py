"""The precisions a network is deployed in, and everything that depends on which one it is.

Imports nothing heavy and runs on Python 3.10: descriptions, engines and limits all read it.
"""

from __future__ import annotations

from enum import Enum

OLDEST_OPSET, NEWEST_OPSET = 18, 22
"""The ONNX operator sets that can be exported."""

FP16_MAX = 65504.0
"""The largest number that fp16 holds."""


class Precision(str, Enum):  # noqa: UP042 - StrEnum is newer than Python 3.10
    """One precision; as text it is its name, in JSON and on the command line."""

    FP32 = "fp32", "float32", 90.0, 1e-4, 1e-6, OLDEST_OPSET, "f32"
    FP16 = "fp16", "float16", 60.0, 0.03, 1e-3, OLDEST_OPSET, None
    BF16 = "bf16", "bfloat16", 50.0, 0.1, None, 22, "bf16"
    FP16_PURE = "fp16-pure", "float16", 50.0, 0.1, 1.5e-3, OLDEST_OPSET, None

    dtype: str
    """The type that matrix products are computed in, as PyTorch calls it."""
    floor: float
    """Lowest PSNR against the reference, in dB, peak 1."""
    largest: float
    """Largest error of a single value, of a range of 1.

    A PSNR averages: one broken pixel among a million costs a 60 dB artifact nothing.
    """
    usual: float | None
    """Relative error after any block of a sound artifact; None where blocks are not compared.

    Measured on random and trained networks, see ``docs/decisions.md``.
    """
    opset: int
    """The first ONNX operator set that holds it: convolutions take bfloat16 from 22 on."""
    openvino: str | None
    """What OpenVINO calls it; None where its CPU plugin does not compute in it."""

    def __new__(
        cls,
        name: str,
        dtype: str,
        floor: float,
        largest: float,
        usual: float | None,
        opset: int,
        openvino: str | None,
    ) -> Precision:
        """A member, whose value is its name alone."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.dtype = dtype
        member.floor = floor
        member.largest = largest
        member.usual = usual
        member.opset = opset
        member.openvino = openvino
        return member

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]

    @classmethod
    def of(cls, name: str) -> Precision:
        """The precision of that name.

        Raises:
            ValueError: there is none.
        """
        for precision in cls:
            if precision == name:
                return precision
        raise ValueError(f"precision {name}: use one of {', '.join(cls)}")

    @property
    def wider(self) -> tuple[Precision, ...]:
        """What to try instead where a network exceeds its range, cheapest first, before fp32."""
        if self is Precision.FP16_PURE:
            return (Precision.FP16, Precision.BF16)
        return (Precision.BF16,) if self is Precision.FP16 else ()

    @property
    def arithmetic(self) -> Precision:
        """The plain precision of its matrix products: fp32, fp16 or bf16."""
        return Precision.FP16 if self is Precision.FP16_PURE else self


PLAIN = tuple(dict.fromkeys(precision.arithmetic for precision in Precision))
"""Those that a machine has instructions for."""
OPENVINO = tuple(precision for precision in Precision if precision.openvino)
"""Those that OpenVINO computes in."""
