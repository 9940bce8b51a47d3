"""TensorRT for RTX compiles a plan's kernels where it first runs: they are kept in the cache."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hat_deploy import cache
from hat_deploy.artifact import Artifact
from hat_deploy.engines.cuda.base import GPU
from hat_deploy.engines.cuda.driver import driver_version
from hat_deploy.engines.tensorrt.library import Plan
from hat_deploy.errors import UsageError

SUFFIX = ".kernels"


class KeptKernels:
    """The compiled kernels of one plan on one GPU, with one library and driver.

    Without a cache folder that can be written, they are compiled again the next time.

    Args:
        artifact: the plan.
        library: title of what compiles them.
        gpu: what they are compiled for.
    """

    def __init__(self, artifact: Artifact, library: str, gpu: GPU) -> None:
        self._made_from: dict[str, Any] = {
            "kernels of": artifact.sha256,
            "library": library,
            "gpu": [gpu.name, gpu.sm],
            "driver": driver_version(),
        }

    def hand_to(self, plan: Plan) -> bool:
        """Give a plan what was kept; whether there was any, and the library took it."""
        try:
            found = cache.find(self._made_from, SUFFIX)
            return found is not None and plan.take_kernels(found.read_bytes())
        except (OSError, UsageError):
            return False

    def keep(self, plan: Plan) -> None:
        """Keep what a plan has compiled, in place of what the library did not take."""
        kernels = plan.kernels()
        if kernels:
            with suppress(OSError, UsageError):
                cache.replace(self._made_from, SUFFIX, lambda path: path.write_bytes(kernels))
