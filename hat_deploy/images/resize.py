"""Bicubic resizing as the super-resolution field defines it: MATLAB's ``imresize``.

OpenCV and Pillow differ from it in the kernel (a = -0.75), the antialiasing or the border,
by more than the differences that published tables report.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def bicubic(picture: npt.NDArray[np.generic], height: int, width: int) -> Floats:
    """Resize by antialiased bicubic interpolation (Keys' kernel, a = -0.5).

    When shrinking, the kernel is widened by the factor; borders are mirrored with the edge
    sample repeated. The result is neither rounded nor clipped.

    Args:
        picture: (H, W) or (H, W, C), any numeric type.
        height, width: size of the result, at least 1.

    Returns:
        float64, (height, width) or (height, width, C), in the range of the input.

    Raises:
        ValueError: a size is below 1, or the image is empty or has another number of axes.

    Source: R. Keys, "Cubic convolution interpolation for digital image processing" (1981),
    with the conventions of MATLAB's imresize.
    """
    if height < 1 or width < 1:
        raise ValueError(f"cannot resize to {width}x{height}: both sides must be at least 1")
    if picture.ndim not in (2, 3) or 0 in picture.shape:
        raise ValueError(f"cannot resize shape {picture.shape}: expected (H, W) or (H, W, C)")
    x = picture.astype(np.float64)
    x = np.tensordot(_weights(x.shape[0], height), x, axes=(1, 0))
    return np.moveaxis(np.tensordot(_weights(x.shape[1], width), x, axes=(1, 1)), 0, 1)


def round_to_uint8(picture: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Values of 0 to 255, rounded half up and clipped, as MATLAB's ``uint8`` does."""
    rounded: npt.NDArray[np.uint8] = np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)
    return rounded


def _weights(source: int, target: int) -> Floats:
    """(target, source) interpolation weights of one axis; each row sums to 1."""
    factor = target / source
    widening = max(1.0, 1.0 / factor)
    centre = (np.arange(target) + 0.5) / factor - 0.5
    reach = int(np.ceil(2 * widening)) + 1
    taps = np.floor(centre)[:, None].astype(int) + np.arange(-reach, reach + 1)
    values = _cubic((centre[:, None] - taps) / widening)
    values /= values.sum(axis=1, keepdims=True)
    mirrored = taps % (2 * source)
    mirrored = np.minimum(mirrored, 2 * source - 1 - mirrored)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target)[:, None], mirrored), values)
    return matrix


def _cubic(x: Floats) -> Floats:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
