"""TIFF and BigTIFF files written from the top down, never holding more than a band of rows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, Self

import numpy as np

from hat_deploy.images.picture import Density, Metadata, Pixels
from hat_deploy.images.tags import (
    EXTRA_SAMPLES,
    ICC,
    RESOLUTION_UNIT,
    RESOLUTIONS,
    XMP,
    TagFile,
)
from hat_deploy.images.trees import Tree, Value, lay_out, numbers, shot_tags

TILE = 512
"""Height and width of a tile."""

TILED_FROM = 2**28
"""Images of so many bytes are written in tiles, of which a viewer reads those it shows."""

LEVEL = 4
"""Deflate's level: four times as fast as 6 on photographs, with files 7 % larger."""

_STRIP = 2**18
"""Bytes of a strip, about: as many whole rows as fit, at least one."""

_BIG_FROM = 2**32 - 2**26
"""A file that could become longer is a BigTIFF, whose offsets have 64 bits."""


class TiffWriter:
    """Writes one image, deflated after differences of neighbours were taken.

        with TiffWriter(file, picture.shape, picture.dtype, metadata) as writer:
            writer.write(rows)  # from the top down, in portions of any height

    Portions of whole bands (512 rows of a tiled image) are not copied; it holds a tile or a
    strip of 256 KiB and its compressed form. Rows that are no band yet are kept until they are.

    Args:
        file: a new file, open for writing in binary.
        shape: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha.
        dtype: uint8 or uint16.
        metadata: profile, EXIF, XMP and resolution become the TIFF's own tags.
        tiled: tiles of 512x512 and not strips; by default for ``TILED_FROM`` bytes and more.
        big: a BigTIFF; by default where the file could become 4 GB long.
    """

    def __init__(
        self,
        file: BinaryIO,
        shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        metadata: Metadata | None = None,
        *,
        tiled: bool | None = None,
        big: bool | None = None,
    ) -> None:
        self._file = file
        self._height, self._width = shape[:2]
        self._samples = shape[2] if len(shape) == 3 else 1
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._metadata = metadata or Metadata()
        row = self._width * self._samples * self._dtype.itemsize
        size = row * self._height
        self._tiled = size >= TILED_FROM if tiled is None else tiled
        self._big = size + size // 1000 >= _BIG_FROM if big is None else big
        self._rows = TILE if self._tiled else max(1, min(_STRIP // row, self._height))
        self._band = np.empty((0, self._width, self._samples), self._dtype)
        self._filled = self._written = 0
        self._places: list[int] = []
        self._lengths: list[int] = []
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if self._big else b"II*\0\0\0\0\0")

    def write(self, rows: Pixels) -> None:
        """Append rows, (n, W) or (n, W, C) of the dtype that was announced.

        Raises:
            OSError: the file cannot be written.
            ValueError: they do not fit, or are more than there is room for.
        """
        rows = rows[..., None] if rows.ndim == 2 else rows
        fits = rows.shape[1:] == self._band.shape[1:] and rows.dtype == self._dtype
        if not fits or self._written + len(rows) > self._height:
            raise ValueError(
                f"{rows.dtype} rows of {rows.shape} do not fit: {self._height - self._written} of "
                f"{self._band.shape[1:]} and {self._dtype} are missing"
            )
        while len(rows):
            portion = rows[: self._rows - self._filled]
            rows = rows[len(portion) :]
            self._written += len(portion)
            if self._filled or not self._is_band(len(portion)):
                if not len(self._band):
                    self._band = np.empty((self._rows, *self._band.shape[1:]), self._dtype)
                self._band[self._filled : self._filled + len(portion)] = portion
                self._filled += len(portion)
                portion = self._band[: self._filled]
            if self._is_band(len(portion)):
                self._flush(portion)
                self._filled = 0

    def _is_band(self, rows: int) -> bool:
        return rows == self._rows or self._written == self._height

    def close(self) -> None:
        """Write the directory; only then the file is a TIFF.

        Raises:
            OSError: the file cannot be written.
            ValueError: rows are missing.
        """
        if self._written != self._height:
            raise ValueError(f"{self._written} rows of {self._height} were written")
        if self._file.tell() % 2:
            self._file.write(b"\0")
        at = self._file.tell()
        self._file.write(lay_out(self._tags(), at, big=self._big))
        self._file.seek(8 if self._big else 4)
        self._file.write(struct.pack("<Q" if self._big else "<I", at))

    def _flush(self, band: Pixels) -> None:
        for part in self._parts(band):
            data = zlib.compress(_differences(part).data, LEVEL)
            self._places.append(self._file.tell())
            self._lengths.append(len(data))
            self._file.write(data)

    def _parts(self, band: Pixels) -> Iterator[Pixels]:
        """The band itself as a strip, or its tiles, filled up with zeros to their size."""
        if not self._tiled:
            yield band
            return
        for left in range(0, self._width, TILE):
            tile = np.zeros((TILE, TILE, self._samples), self._dtype)
            part = band[:, left : left + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile

    def _tags(self) -> Tree:
        bits = numbers(3, *[8 * self._dtype.itemsize] * self._samples)
        offsets = numbers(16 if self._big else 4, *self._places)
        lengths = numbers(4, *self._lengths)
        tags: dict[int, Value | Tree] = {
            **_described(self._metadata),
            256: numbers(4, self._width),
            257: numbers(4, self._height),
            258: bits,
            259: numbers(3, 8),
            262: numbers(3, 1 if self._samples == 1 else 2),
            277: numbers(3, self._samples),
            317: numbers(3, 2),
        }
        if self._tiled:
            tags |= {322: numbers(4, TILE), 323: numbers(4, TILE), 324: offsets, 325: lengths}
        else:
            tags |= {273: offsets, 278: numbers(4, self._rows), 279: lengths}
        if self._samples == 4:
            tags[EXTRA_SAMPLES] = numbers(3, 2)
        return tags

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()


def _differences(part: Pixels) -> Pixels:
    """Each sample less the one to its left, modulo its range: the horizontal predictor."""
    result = part.copy()
    np.subtract(part[:, 1:], part[:, :-1], out=result[:, 1:])
    return result


def _described(metadata: Metadata) -> Tree:
    """The tags that hold an image's metadata."""
    tags: dict[int, Value | Tree] = {}
    if metadata.exif:
        block = TagFile(metadata.exif)
        shot = shot_tags(block, block.directory(block.first)[0])
        own = (*RESOLUTIONS, RESOLUTION_UNIT)
        tags |= {number: value for number, value in shot.items() if number not in own}
    if metadata.icc:
        tags[ICC] = Value(7, metadata.icc)
    if metadata.xmp:
        tags[XMP] = Value(1, metadata.xmp)
    if metadata.density:
        tags |= _resolution(metadata.density)
    return tags


def _resolution(density: Density) -> Tree:
    values = [Fraction(value).limit_denominator(100) for value in (density.x, density.y)]
    tags: dict[int, Value | Tree] = {
        number: numbers(5, value.numerator, value.denominator)
        for number, value in zip(RESOLUTIONS, values, strict=True)
    }
    return tags | {RESOLUTION_UNIT: numbers(3, 2)}
