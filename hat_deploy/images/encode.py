"""Pictures to files, refused where a format cannot hold what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.files import replacing
from hat_deploy.images.metadata import with_jpeg_xmp, with_png_xmp, with_tiff_tags
from hat_deploy.images.opencv import one_line, swap_red_and_blue
from hat_deploy.images.picture import Metadata, Picture, Pixels

FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
}
"""The format that each file name suffix stands for."""

_LONGEST = {"jpeg": 65_500, "webp": 16_383}
_EIGHT_BIT = {"jpeg", "webp", "bmp"}


def write(picture: Picture, path: Path, *, quality: int = 95) -> None:
    """:func:`encode` to a file, in the format of its suffix; missing folders are made.

    The file appears under its name whole or not at all, and replaces one that is there.

    Raises:
        PictureError: the format cannot hold the picture, or the file cannot be written.
    """
    data = encode(picture, path.suffix, quality=quality)
    try:
        with replacing(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise PictureError(f"the result cannot be written: {error.strerror or error}") from error


def encode(picture: Picture, suffix: str, *, quality: int = 95) -> bytes:
    """A file's content.

    Args:
        picture: what to write.
        suffix: a key of ``FORMATS``, in any case.
        quality: 1 to 100, for JPEG (always 4:4:4) and WebP; a WebP of 100 is lossless.

    PNG, TIFF and BMP are lossless. WebP has no gray: it is written, and read back, as RGB,
    and a gray picture's colour profile is left out.

    Raises:
        PictureError: the format cannot hold the picture's depth, alpha or size.
        ValueError: an unknown suffix, or a quality out of range.
    """
    if suffix.lower() not in FORMATS:
        raise ValueError(f"{suffix!r} is not one of {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it goes from 1 to 100")
    form = FORMATS[suffix.lower()]
    _refuse_loss(picture.pixels, form)
    metadata = picture.metadata
    if form == "webp" and picture.pixels.ndim == 2:
        metadata = replace(metadata, icc=None)
    data = _encode(picture.pixels, form, quality, _blocks(metadata, form))
    if form == "jpeg" and metadata.xmp:
        return with_jpeg_xmp(data, metadata.xmp)
    if form == "png" and metadata.xmp:
        return with_png_xmp(data, metadata.xmp)
    if form == "tiff":
        return with_tiff_tags(data, metadata, alpha=_has_alpha(picture.pixels))
    return data


def _refuse_loss(pixels: Pixels, form: str) -> None:
    height, width = pixels.shape[:2]
    name = {"jpeg": "JPEG", "webp": "WebP", "bmp": "BMP"}.get(form, form)
    if pixels.dtype == np.uint16 and form in _EIGHT_BIT:
        raise PictureError(f"it has 16 bits a sample, and {name} holds 8: use PNG or TIFF")
    if form == "jpeg" and _has_alpha(pixels):
        raise PictureError("it has transparency, and JPEG holds none: use PNG, WebP or TIFF")
    longest = _LONGEST.get(form)
    if longest is not None and max(height, width) > longest:
        raise PictureError(
            f"the result has {width}x{height} pixels, and {name} holds at most {longest} a side: "
            f"use PNG or TIFF"
        )


def _has_alpha(pixels: Pixels) -> bool:
    return pixels.ndim == 3 and pixels.shape[2] == 4


def _blocks(metadata: Metadata, form: str) -> dict[int, bytes]:
    """The metadata that OpenCV itself writes into a format."""
    blocks: dict[int, bytes] = {}
    if form in ("png", "jpeg", "webp"):
        blocks[cv2.IMAGE_METADATA_EXIF] = metadata.exif or b""
        blocks[cv2.IMAGE_METADATA_ICCP] = metadata.icc or b""
    if form == "webp":
        # OpenCV 5.0 leaves XMP out of JPEG; in PNG it makes it Latin-1 and reads past its end.
        blocks[cv2.IMAGE_METADATA_XMP] = metadata.xmp or b""
    return {kind: block for kind, block in blocks.items() if block}


def _encode(pixels: Pixels, form: str, quality: int, blocks: dict[int, bytes]) -> bytes:
    options = {
        "jpeg": [
            *(cv2.IMWRITE_JPEG_QUALITY, quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        "tiff": [
            *(cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE),
            *(cv2.IMWRITE_TIFF_PREDICTOR, cv2.IMWRITE_TIFF_PREDICTOR_HORIZONTAL),
            *(cv2.IMWRITE_TIFF_ROWSPERSTRIP, 64),
        ],
    }.get(form, [])
    if form == "webp" and quality == 100:
        # "Preserve" keeps the colour under full transparency too.
        mode = cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR
        options = [cv2.IMWRITE_WEBP_LOSSLESS_MODE, mode]
    pixels = swap_red_and_blue(pixels)
    arrays = [np.frombuffer(block, np.uint8) for block in blocks.values()]
    try:
        done, data = cv2.imencodeWithMetadata(f".{form}", pixels, list(blocks), arrays, options)
    except cv2.error as error:
        raise PictureError(f"the result cannot be encoded: {one_line(error)}") from error
    if not done:
        raise PictureError(f"OpenCV cannot encode the result as {form}: use PNG or TIFF")
    return bytes(data)
