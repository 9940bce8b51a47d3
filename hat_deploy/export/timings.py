"""How long kernels took on this GPU: TensorRT times them when it builds, and need not do so again.

TensorRT for RTX times none.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hat_deploy import cache
from hat_deploy.engines.cuda.driver import local_gpu_name
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import UsageError

SUFFIX = ".timings"


@contextmanager
def shared(flavour: Flavour) -> Iterator[Path | None]:
    """A file for one build: what earlier ones timed on this GPU, where there were any.

    What the build leaves in it is kept if it succeeds. Other releases' timings are refused by the
    library itself, which then starts anew.

    Yields:
        Its path; None for a flavour that times nothing.
    """
    if flavour is not Flavour.TENSORRT:
        yield None
        return
    made_from = {"timings of": str(flavour), "gpu": local_gpu_name()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"tensorrt{SUFFIX}"
        with suppress(OSError, UsageError):  # without a cache, all is timed again
            if (known := cache.find(made_from, SUFFIX)) is not None:
                shutil.copyfile(known, path)
        yield path
        with suppress(OSError, UsageError):
            if path.is_file():
                cache.replace(made_from, SUFFIX, lambda entry: shutil.copyfile(path, entry))
