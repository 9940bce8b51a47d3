"""Room for a result: in memory, or in a file without a name where memory is to be spared."""

from __future__ import annotations

import mmap
import os
import sys
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Pixels


def blank(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], *, folder: Path, memory: int | None = None
) -> Pixels:
    """An array to put a result into; its content is not defined.

    Args:
        shape: (H, W), (H, W, 3) or (H, W, 4).
        dtype: uint8 or uint16.
        folder: where the file is made, and the folder too, if one is needed. It has no name,
            its whole length is reserved at once, and it is gone with the last reference to
            the array or with the process, however that ends.
        memory: how many bytes an array in memory may have; None: any number.

    Returns:
        An ordinary array, or one mapped into the file, whose pages the kernel writes out and
        takes back when memory is short; :func:`release` does so at once.

    Raises:
        PictureError: the file cannot be made, or the disk is too full for it.
        MemoryError: there is no memory for an ordinary array.
    """
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if memory is None or size <= memory:
        return np.empty(shape, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            _reserve(file, size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise PictureError(
            f"its result needs {size / 2**30:.1f} GiB of the output folder's disk beside the "
            f"file itself, which cannot be had: {error.strerror or error}"
        ) from error


def release(pixels: Pixels) -> None:
    """Free the memory that a mapped array, or a view of one, takes; other arrays stay.

    What was written stays, and comes back from the file when it is looked at. Other threads
    may be writing to it.
    """
    array: object = pixels
    while isinstance(array, np.ndarray):
        mapping = getattr(array, "_mmap", None)
        # Elsewhere the same advice may mean that changes are not wanted any more.
        if isinstance(mapping, mmap.mmap) and sys.platform == "linux":
            mapping.madvise(mmap.MADV_DONTNEED)
            return
        array = array.base


def _reserve(file: IO[bytes], size: int) -> None:
    """Lengthen a file so that writing into its mapping cannot meet a full disk (and a SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    block = bytes(2**20)
    for _ in range(-(-size // len(block))):
        file.write(block)
    file.truncate(size)
    file.flush()
