"""What every call of OpenCV here needs: silence, its channel order, errors on one line."""

from __future__ import annotations

import cv2

from hat_deploy.images.picture import Pixels

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def swap_red_and_blue(pixels: Pixels) -> Pixels:
    """RGB(A) to OpenCV's BGR(A), or back; gray as it is."""
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def one_line(error: cv2.error) -> str:
    """OpenCV's message, for the end of a sentence."""
    return " ".join(str(error).split())
