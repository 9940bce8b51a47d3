"""Bicubic resizing as the super-resolution field defines it: MATLAB's ``imresize``.

OpenCV and Pillow differ from it in the kernel (a = -0.75), the antialiasing or the border,
by more than the differences that published tables report.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hat_deploy.images.picture import Pixels
from hat_deploy.images.scratch import release

Floats = npt.NDArray[np.float64]
Light = npt.NDArray[np.float32]

_PART = 64
"""Rows, or columns, of a result that are computed at once."""


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


def shrink(source: Pixels, target: Pixels, *, linear: bool = False) -> None:
    """Resize an image into another array, stripe by stripe, as :func:`bicubic` does.

    Beside the two arrays this takes a few MiB, and less than 64 bytes for each pixel of a row;
    arrays that are mapped into files are let go of as it proceeds.

    Args:
        source: (H, W), (H, W, 3) or (H, W, 4); uint8 or uint16.
        target: of the wanted height and width, with the channels and dtype of ``source``.
        linear: average light instead of the stored values, which are taken as sRGB; alpha is
            averaged as it is stored.
    """
    (height, width), samples = target.shape[:2], source.shape[2:]
    channels = samples[0] if samples else 1
    alpha = channels == 4
    table = _light_table(source.dtype) if linear else None
    across = [_band(source.shape[1], width, part) for part in _parts(width)]
    for part in _parts(height):
        start, weights = _band(source.shape[0], height, part)
        rows = source[start : start + weights.shape[1]]
        values = rows.astype(np.float32) if table is None else _light(rows, table, alpha=alpha)
        values = (weights @ values.reshape(len(rows), -1)).reshape(len(part), -1, channels)
        values = np.concatenate(
            [columns @ values[:, first : first + columns.shape[1]] for first, columns in across],
            axis=1,
        )
        if linear:
            _store_light(values, source.dtype, alpha=alpha)
        most = np.iinfo(source.dtype).max
        np.clip(np.rint(values, out=values), 0, most, out=values)
        target[part.start : part.stop] = values.reshape(len(part), width, *samples)
        release(source)
        release(target)


def _parts(length: int) -> list[range]:
    return [range(at, min(at + _PART, length)) for at in range(0, length, _PART)]


def _light(values: Pixels, table: Light, *, alpha: bool) -> Light:
    light = table[values]
    if alpha:
        light[..., 3] = values[..., 3]
    return light


def _light_table(dtype: np.dtype[Any]) -> Light:
    """For each stored value the light it stands for, 0 to 1, by sRGB's curve (IEC 61966-2-1)."""
    most = np.iinfo(dtype).max
    x = np.arange(most + 1) / most
    curve = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    light: Light = curve.astype(np.float32)
    return light


def _store_light(values: Light, dtype: np.dtype[Any], *, alpha: bool) -> None:
    """Turn light into stored values, in place; the inverse of :func:`_light_table`."""
    colour = values[..., :3] if alpha else values
    np.clip(colour, 0, 1, out=colour)
    curve = np.where(colour <= 0.0031308, colour * 12.92, 1.055 * colour ** (1 / 2.4) - 0.055)
    colour[...] = curve * np.iinfo(dtype).max


def _weights(source: int, target: int) -> Floats:
    """(target, source) interpolation weights of one axis; each row sums to 1."""
    start, band = _taps(source, target, range(target))
    matrix = np.zeros((target, source))
    matrix[:, start : start + band.shape[1]] = band
    return matrix


def _band(source: int, target: int, wanted: range) -> tuple[int, Light]:
    """:func:`_taps` in single precision."""
    start, band = _taps(source, target, wanted)
    return start, band.astype(np.float32)


def _taps(source: int, target: int, wanted: range) -> tuple[int, Floats]:
    """Weights of some samples of the result, without the columns that are zero for all of them.

    Returns:
        The first source sample that has a weight, and (wanted, samples) weights from it on.
    """
    factor = target / source
    widening = max(1.0, 1.0 / factor)
    centre = (np.arange(wanted.start, wanted.stop) + 0.5) / factor - 0.5
    reach = int(np.ceil(2 * widening)) + 1
    taps = np.floor(centre)[:, None].astype(int) + np.arange(-reach, reach + 1)
    values = _cubic((centre[:, None] - taps) / widening)
    values /= values.sum(axis=1, keepdims=True)
    mirrored = taps % (2 * source)
    mirrored = np.minimum(mirrored, 2 * source - 1 - mirrored)
    start = int(mirrored.min())
    matrix = np.zeros((len(wanted), int(mirrored.max()) + 1 - start))
    np.add.at(matrix, (np.arange(len(wanted))[:, None], mirrored - start), values)
    return start, matrix


def _cubic(x: Floats) -> Floats:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
