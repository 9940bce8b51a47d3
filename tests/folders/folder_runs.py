"""Folders of pictures to run on, and runs on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fakes import IdentityEngine

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.folders import job_list
from hat_deploy.folders.journal import NAME


def picture(path: Path, size: tuple[int, int] = (6, 5), seed: int = 0, **kind: Any) -> Path:
    """A file of noise; ``kind``: ``dtype``, ``channels``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype, channels = kind.get("dtype", np.uint8), kind.get("channels", 3)
    noise = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (*size, channels), dtype)
    assert cv2.imwrite(str(path), noise)
    return path


def run(
    folder: Path,
    upscaler: Upscaler | None = None,
    *,
    progress: Callable[[folders.Progress], None] | None = None,
    **options: Any,
) -> dict[str, folders.Outcome]:
    """Outcomes by the names of the sources."""
    upscaler = upscaler or Upscaler(IdentityEngine())
    listed = job_list.list_jobs([folder], mark="-x2", output=None, recursive=True)
    found = folders.run(listed.jobs, upscaler, folders.Options(**options), progress=progress)
    return {outcome.source.name: outcome for outcome in found}


def kinds(outcomes: dict[str, folders.Outcome]) -> dict[str, str]:
    return {name: type(outcome).__name__ for name, outcome in sorted(outcomes.items())}


def results(folder: Path) -> dict[str, str]:
    """Names and hashes of all files that are results."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def leftovers(folder: Path) -> list[str]:
    """Hidden files and folders that are no journals."""
    hidden = [path.name for path in folder.rglob(".*")]
    return [name for name in hidden if name != NAME]
