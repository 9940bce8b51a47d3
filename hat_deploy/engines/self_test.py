"""Runs an artifact's own test where it was loaded: does this machine compute what was proved?

A new driver, GPU, library or processor may bring kernels that compute something else. A test that
was passed is remembered in the cache for the artifact and for all that computes it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from hat_deploy import cache
from hat_deploy.artifact import Artifact
from hat_deploy.artifact.self_test import SelfTest, chosen_values, fixed_tile
from hat_deploy.engines.base import Array, Engine, TensorSpec, sized
from hat_deploy.engines.cuda.driver import driver_version, local_gpu_name
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.machine import cpu_name
from hat_deploy.metrics import Difference, compare
from hat_deploy.precision import Precision

MARGIN = 3.0
"""How many dB the PSNR of the few values may lie below the floor of all."""
SUFFIX = ".tested"


def require(
    engine: Engine,
    artifact: Artifact,
    *,
    device: str = "cpu",
    compute: str | None = None,
    gpu: int = 0,
) -> None:
    """Run the test of an artifact, unless it was passed here before or there is none.

    Args:
        engine: what was opened from it.
        device: ``cpu`` or ``cuda``.
        compute: as for :func:`hat_deploy.engines.open_artifact`.
        gpu: its number among those that are visible.

    Raises:
        ArtifactError: the engine computes something else than the reference, or it failed.
    """
    test = artifact.description.self_test
    if test is None or not test.usable:
        return
    on_gpu = artifact.is_plan or device != "cpu"
    known = _known_by(engine, artifact, gpu if on_gpu else None)
    if _passed_before(known):
        return
    floor = min(test.floor, Precision.of(compute).floor if compute else test.floor) - MARGIN
    found = run(engine, test)
    if not found.meets(floor):
        was = "values that are not finite" if found.non_finite else f"PSNR {found.psnr:.1f} dB"
        raise ArtifactError(
            f"{artifact.path} does not give its own test's result in {engine.name}: {was} against "
            f"the reference, and at least {floor:.0f} dB was expected; export it again, or update "
            "the library and the driver ('upscale --no-self-test' runs it as it is)"
        )
    with suppress(OSError, UsageError):  # no cache: it is run again the next time
        cache.keep(known, SUFFIX, lambda path: path.write_text(f"{found.psnr:.1f} dB\n"))


def run(engine: Engine, test: SelfTest, whole: Array | None = None) -> Difference:
    """What an engine makes of the fixed tile, against the reference's values.

    Of bytes, only the error that rounding does not explain is counted. Every tile of a batch is
    looked at.

    Args:
        whole: all that the reference makes of the tile, (C, H, W) float32; by default only the
            values that the artifact carries are compared.
    """
    engine = sized(engine, test.tile)
    computed = engine.run(batch_of(engine.input))
    results = [*(computed.transpose(0, 3, 1, 2) if engine.output.layout == "NHWC" else computed)]
    found = np.stack([chosen_values(result) for result in results] if whole is None else results)
    expected = np.broadcast_to(test.expected if whole is None else whole, found.shape)
    if engine.output.dtype == "uint8":
        expected = np.clip(expected, 0, 1)
        found = _before_rounding(found, expected)
    if engine.peaks is not None:
        found[~np.isfinite(engine.peaks)] = np.nan
    return compare(expected, found)


def _before_rounding(bytes_: Array, expected: Array) -> Array:
    """Of all values that round to these bytes, those nearest to the expected ones."""
    value, half = bytes_ / np.float32(255), np.float32(0.5 / 255)
    nearest: Array = np.clip(expected, value - half, value + half)
    return nearest


def batch_of(spec: TensorSpec) -> Array:
    """The fixed tile as a batch, as often as it takes."""
    tile = fixed_tile(*spec.size, spec.channels)
    if spec.layout == "NHWC":
        return np.array(np.broadcast_to(tile, spec.shape), order="C")
    scaled = tile.transpose(2, 0, 1) / np.float32(255)
    return np.array(np.broadcast_to(scaled, spec.shape), order="C")


def _known_by(engine: Engine, artifact: Artifact, gpu: int | None) -> dict[str, Any]:
    """All that the result depends on."""
    computed_by = [cpu_name()] if gpu is None else [local_gpu_name(gpu), driver_version()]
    return {"test of": artifact.sha256, "engine": engine.name, "computed by": computed_by}


def _passed_before(known: dict[str, Any]) -> bool:
    try:
        return cache.find(known, SUFFIX) is not None
    except UsageError:
        return False
