"""The machine's ceiling: how fast it multiplies matrices, in one precision.

A HAT is matrix products and convolutions, so its arithmetic over this rate is a floor under
its latency, whatever the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hat_deploy.bench.children import ChildDied, in_child
from hat_deploy.errors import MissingExtraError
from hat_deploy.precision import OPENVINO, Precision

SECONDS = 1.0
"""How long each library is given."""
_LONG_ENOUGH = 0.02
_SMALLEST = 512
_LARGEST = {"cpu": 4096, "cuda": 16384}

Product = Callable[[], object]
MakeProduct = Callable[[int], Product]


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The rate of the fastest of several large matrix products."""

    precision: str
    device: str
    flops: float
    """Floating-point operations a second, two for each multi-add."""
    side: int
    """The side of the square matrices."""
    library: str


def measure_ceiling(precision: str, device: str, threads: int) -> Ceiling | None:
    """Multiply matrices in a child process; None where nothing here can.

    NumPy does fp32 on a CPU, OpenVINO fp32 and bf16 there, PyTorch everything. The fastest one
    counts: on some CPUs NumPy's and PyTorch's libraries leave half of the vector unit unused.

    Args:
        precision: ``fp32``, ``fp16`` or ``bf16``.
        device: ``cpu`` or ``cuda``.
        threads: on a CPU.
    """
    try:
        found = in_child(_fastest, precision, device, threads, threads=threads)
    except ChildDied:
        return None
    return max(found, key=lambda ceiling: ceiling.flops, default=None)


def _fastest(precision: str, device: str, threads: int) -> list[Ceiling]:
    """Runs in the child."""
    candidates: list[tuple[str, MakeProduct]] = []
    if (precision, device) == (Precision.FP32, "cpu"):
        candidates.append((f"numpy {np.__version__}", _numpy_product))
    if device == "cpu" and (openvino_product := _openvino_products(precision, threads)):
        candidates.append(openvino_product)
    if torch_product := _torch_products(precision, device, threads):
        candidates.append(torch_product)
    found = []
    for library, make in candidates:
        side, seconds = quickest(make, largest=_LARGEST[device])
        flops = 2 * side**3 / seconds
        found.append(
            Ceiling(precision=precision, device=device, flops=flops, side=side, library=library)
        )
    return found


def quickest(
    make: MakeProduct,
    *,
    largest: int,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, float]:
    """The shortest time of a product, of a side at which it takes long enough to time.

    Args:
        make: from a side to a call that multiplies two such matrices and returns when done.
        largest: the side that growing, by doubling, stops at.
        seconds: how long to repeat.

    Returns:
        The side, and seconds.
    """
    side = _SMALLEST
    while True:
        product = make(side)
        product()
        best = _timed(product, clock)
        if best >= _LONG_ENOUGH or side >= largest:
            break
        side *= 2
    until = clock() + seconds
    while clock() < until:
        best = min(best, _timed(product, clock))
    return side, best


def _timed(call: Product, clock: Callable[[], float]) -> float:
    begun = clock()
    call()
    return clock() - begun


def _numpy_product(side: int) -> Product:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, side, side), dtype=np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def _openvino_products(precision: str, threads: int) -> tuple[str, MakeProduct] | None:
    try:
        from hat_deploy.engines.openvino import supports

        import openvino as ov  # isort: skip  (after the import that says what is missing)
    except MissingExtraError:
        return None
    if precision not in OPENVINO or not supports(precision):
        return None

    def make(side: int) -> Product:
        rng = np.random.default_rng(0)
        a, b = rng.random((2, side, side), dtype=np.float32)
        given = ov.opset13.parameter([side, side], np.float32)
        model = ov.Model([ov.opset13.matmul(given, b, False, False)], [given])
        settings = {
            "INFERENCE_PRECISION_HINT": Precision.of(precision).openvino,
            "INFERENCE_NUM_THREADS": threads,
        }
        request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
        request.set_input_tensor(ov.Tensor(a))
        return lambda: request.infer()

    return f"openvino {ov.__version__.split('-')[0]}", make


def _torch_products(precision: str, device: str, threads: int) -> tuple[str, MakeProduct] | None:
    try:
        import torch
    except ImportError:
        return None
    if device == "cuda" and not torch.cuda.is_available():
        return None
    torch.set_num_threads(threads)
    dtype: torch.dtype = getattr(torch, Precision.of(precision).dtype)

    def make(side: int) -> Product:
        a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)

        def product() -> None:
            torch.matmul(a, b, out=out)
            if device == "cuda":
                torch.cuda.synchronize()

        return product

    return f"torch {torch.__version__}", make
