"""Colours under full transparency, which nobody sees until a picture is resampled."""

from __future__ import annotations

import cv2
import numpy as np

from hat_deploy.images.picture import Pixels


def bleed(pixels: Pixels) -> Pixels:
    """Give every fully transparent pixel the colour of the nearest visible one.

    Whatever lies under alpha 0, often black or white, would otherwise be mixed into the edges
    of what is visible by anything that looks at neighbours: a fringe.

    Args:
        pixels: uint8 or uint16, (H, W, 4) with straight alpha; gray and RGB are accepted too.

    Returns:
        A new array of the same kind with the alpha unchanged; the argument itself where there
        is nothing to do: no alpha, nothing transparent or nothing visible.
    """
    if pixels.ndim == 2 or pixels.shape[2] != 4:
        return pixels
    transparent = pixels[..., 3] == 0
    if not transparent.any() or transparent.all():
        return pixels
    _, label = cv2.distanceTransformWithLabels(
        transparent.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    visible = ~transparent
    colours = np.empty((int(label.max()) + 1, 3), pixels.dtype)
    colours[label[visible]] = pixels[visible][:, :3]
    filled = pixels.copy()
    filled[transparent, :3] = colours[label[transparent]]
    return filled
