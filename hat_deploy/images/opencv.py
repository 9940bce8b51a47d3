"""What every call of OpenCV here needs: silence, its channel order, errors on one line."""

from __future__ import annotations

import cv2

from hat_deploy.images.picture import Pixels

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


_BAND = 2**20
"""Bytes that are swapped at once."""


def swap_red_and_blue(pixels: Pixels) -> None:
    """RGB(A) to OpenCV's BGR(A), or back, in place and without a second picture; gray stays."""
    if pixels.ndim == 2:
        return
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    rows = max(1, _BAND // max(1, pixels[0].nbytes))
    for top in range(0, len(pixels), rows):
        band = pixels[top : top + rows]
        band[...] = cv2.cvtColor(band, code)


def one_line(error: cv2.error) -> str:
    """OpenCV's message, for the end of a sentence."""
    return " ".join(str(error).split())
