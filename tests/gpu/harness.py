"""Drive the TensorRT engine with TensorRT 8.6 on Python 3.10, with numpy and cuda-python only.

8.6 is no version that the package supports: it builds weakly typed networks only, which this
script does and the package does not. Its calls at run time are those of TensorRT 10, so that it
shows whether the engine class works on a GPU. ``harness_prepare.py`` writes what it needs.

    PYTHONPATH=. python3.10 tests/gpu/harness.py FOLDER [--in-flight 2] [--batches 50]

The last line is ``ok``, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt

from hat_deploy.artifact import PLAN_MARKER, describe
from hat_deploy.engines.cuda.driver import local_gpu
from hat_deploy.engines.tensorrt.engine import TensorRTEngine
from hat_deploy.engines.tensorrt.library import load

FLOOR = 50.0
"""Least PSNR in dB: everything that TensorRT likes to is computed in half."""


def build(source: Path, target: Path) -> None:
    """A weakly typed plan in half precision that describes itself as the package's do."""
    log = load("tensorrt").reports.log
    builder = trt.Builder(log)
    explicit = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(explicit)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(source.read_bytes()):
        errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise SystemExit("\n".join(errors))
    sm = local_gpu()
    described = replace(
        describe(source),
        precision="fp16",
        versions={"tensorrt": trt.__version__},
        targets=(sm,) if sm else (),
    )
    network.name = PLAN_MARKER + described.to_json()
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_tactic_sources(0)  # cuBLAS and cuDNN may be stand-ins that hold nothing
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise SystemExit("TensorRT built nothing")
    target.write_bytes(plan)


def psnr(expected: Any, found: Any) -> float:
    """In dB, peak 1; -inf where something is not finite."""
    if not np.isfinite(found).all():
        return float("-inf")
    error = float(np.mean((expected.astype(np.float64) - found) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def check(plan: Path, folder: Path, in_flight: int, count: int) -> None:
    """Run one batch against the reference, then many in a stream against single runs."""
    pixels, expected = np.load(folder / "input.npy"), np.load(folder / "reference.npy")
    with TensorRTEngine(plan, in_flight=in_flight) as engine:
        print(engine.name)
        print(f"one batch takes {engine.need.total / 1e6:.1f} MB of GPU memory")
        quality = psnr(expected, engine.run(pixels))
        print(f"PSNR against PyTorch in fp32: {quality:.1f} dB")
        if quality < FLOOR:
            raise SystemExit(f"at least {FLOOR} dB was expected")
        given = [np.roll(pixels, shift, axis=-1) for shift in range(8)]
        single = [engine.run(batch) for batch in given]
        for number, result in enumerate(engine.stream(given)):
            if not np.array_equal(single[number], result):
                raise SystemExit(f"batch {number} of a stream differs from the same one alone")
        seconds = min(time_stream(engine, given[number % 8], count) for number in range(3))
        print(f"{1000 * seconds:.2f} ms a batch of {pixels.shape}, in a stream of {count}")


def time_stream(engine: TensorRTEngine, batch: Any, count: int) -> float:
    """Seconds for each batch of a stream, copies in and out included."""
    begun = time.perf_counter()
    for _ in engine.stream(batch for _ in range(count)):
        pass
    return (time.perf_counter() - begun) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--in-flight", type=int, default=2)
    parser.add_argument("--batches", type=int, default=50)
    options = parser.parse_args()
    plan = options.folder / "network.plan"
    begun = time.perf_counter()
    build(options.folder / "network.onnx", plan)
    print(f"built {plan} in {time.perf_counter() - begun:.0f} s, {plan.stat().st_size} bytes")
    check(plan, options.folder, options.in_flight, options.batches)
    print("ok")


if __name__ == "__main__":
    main()
