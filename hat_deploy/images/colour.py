"""Colour profiles for images that only give a gamma and the places of their primaries."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

Chromaticities = tuple[float, ...]
"""CIE x and y of white, red, green and blue, in this order: eight numbers."""


def profile_of(gamma: float, places: Chromaticities | None, *, gray: bool) -> bytes | None:
    """An ICC profile (version 2, matrix and gamma), or None where an image is sRGB anyway.

    Args:
        gamma: the exponent from light to samples: 1 for linear light, 0.45455 for sRGB.
        places: where white and the primaries lie; sRGB's if None.
        gray: a profile for gray images, which has no primaries.

    Returns:
        None also where the numbers describe no colours that could exist. Samples with sRGB's
        numbers are what every viewer assumes of an image without a profile.

    Source: ICC.1:2001-04; the matrix from chromaticities as by Lindbloom, adapted to D50 by
    the Bradford method.
    """
    places = places or _SRGB
    usual = np.allclose(places, _SRGB, atol=0.002) or gray
    if (abs(gamma - 1 / 2.2) < 0.01 and usual) or not 0.1 < gamma < 10:
        return None
    tags = {b"wtpt": _xyz(_D50), b"desc": _description(), b"cprt": b"text\0\0\0\0none\0"}
    curve = struct.pack(">4sIIH", b"curv", 0, 1, round(256 / gamma))
    if gray:
        return _profile(b"GRAY", tags | {b"kTRC": curve})
    columns = _columns(places)
    if columns is None:
        return None
    for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags |= {name + b"XYZ": _xyz(column), name + b"TRC": curve}
    return _profile(b"RGB ", tags)


def _columns(places: Chromaticities) -> npt.NDArray[np.float64] | None:
    """XYZ of red, green and blue, a row each, adapted to the white of D50."""
    if min(places[1::2]) < 0.001:
        return None
    pairs = zip(places[::2], places[1::2], strict=True)
    white, *primaries = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in pairs)
    matrix = np.stack(primaries)
    if abs(np.linalg.det(matrix)) < 1e-6:
        return None
    matrix = matrix * np.linalg.solve(matrix.T, white)[:, None]
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: npt.NDArray[np.float64] = (
        matrix @ (np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD).T
    )
    return adapted if np.abs(adapted).max() < 2 else None


def _xyz(values: npt.NDArray[np.float64]) -> bytes:
    return struct.pack(">4sI3i", b"XYZ ", 0, *(round(value * 65536) for value in values))


def _description() -> bytes:
    text = b"PNG gamma and chromaticities\0"
    return struct.pack(">4sII", b"desc", 0, len(text)) + text + bytes(78)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    entries, body = b"", b""
    for name, data in tags.items():
        at = 132 + 12 * len(tags) + len(body)
        entries += struct.pack(">4sII", name, at, len(data))
        body += data + bytes(-len(data) % 4)
    size = 132 + len(entries) + len(body)
    header = struct.pack(">IIB3x4s4s4s", size, 0, 2, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s28x", 2000, 1, 1, 0, 0, 0, b"acsp")
    header += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(tags)) + entries + body
