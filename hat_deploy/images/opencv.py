"""What every call of OpenCV here needs: silence, its channel order, errors on one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from hat_deploy.errors import PictureError
from hat_deploy.images.picture import Pixels

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


_NO_MEMORY = "there is not enough memory for an image of this size"

_BAND = 2**20
"""Bytes that are worked on at once."""


def bands(pixels: Pixels) -> Iterator[slice]:
    """The rows from the top down, in portions so small that copies of them cost little."""
    rows = max(1, _BAND // max(1, pixels[0].nbytes))
    yield from (slice(top, top + rows) for top in range(0, len(pixels), rows))


def swap_red_and_blue(pixels: Pixels) -> None:
    """RGB(A) to OpenCV's BGR(A), or back, in place and without a second image; gray stays."""
    if pixels.ndim == 2:
        return
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    for rows in bands(pixels):
        pixels[rows] = cv2.cvtColor(pixels[rows], code)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Make a sentence of what OpenCV raises, and of memory that runs out.

    Args:
        what: how the sentence starts: ``it cannot be decoded``.

    Raises:
        PictureError: the block raised ``cv2.error`` or ``MemoryError``.
    """
    try:
        yield
    except MemoryError as error:
        raise PictureError(f"{what}: {_NO_MEMORY}") from error
    except cv2.error as error:
        message = " ".join(str(error).split())
        # OpenCV gives a code for its own allocations, and only a name for those of the codecs.
        code = getattr(error, "code", None)
        if code == cv2.Error.StsNoMem or message == "std::bad_alloc":
            message = _NO_MEMORY
        raise PictureError(f"{what}: {message}") from error
