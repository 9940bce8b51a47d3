"""OpenCV's encoders of PNG, JPEG, WebP, AVIF and BMP: into memory, or straight into a file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.files import temporary
from hat_deploy.images.metadata import HEAD, MOST_JPEG_ICC, completed
from hat_deploy.images.opencv import refusing, swap_red_and_blue
from hat_deploy.images.picture import Metadata, Picture, Pixels

_AVIF_SPEED = 8
"""2 MP/s; 9 is four times as fast with files 3 % larger, 6 half as fast with files 7 % smaller."""

_REFUSED = "the result cannot be encoded"


def encode_in_memory(picture: Picture, form: str, quality: int) -> bytes:
    """A file's content, without what :func:`completed` adds."""
    kinds, blocks = _blocks(picture.metadata, form)
    with refusing(_REFUSED):
        pixels = _in_opencvs_order(picture.pixels, consume=False)
        options = _options(form, quality)
        if form == "avif" and pixels.dtype == np.uint16:
            pixels = pixels >> 4
            options += [cv2.IMWRITE_AVIF_DEPTH, 12]
        done, data = cv2.imencodeWithMetadata(f".{form}", pixels, kinds, blocks, options)
        _check(done)
    return data.tobytes()


def nameable(path: Path) -> bool:
    """Whether OpenCV can open a file of this name."""
    name = str(path)
    if os.name == "nt":
        return name.isascii()
    return not any("\udc80" <= character <= "\udcff" for character in name)


def write_directly(picture: Picture, path: Path, form: str, quality: int, *, consume: bool) -> None:
    """A whole file, of which no more than pieces are ever in memory (WebP excepted).

    Raises:
        PictureError: it cannot be encoded, or not be written whole.
        OSError: it cannot be written.
    """
    path.touch()  # so that a folder that cannot be written says why
    kinds, blocks = _blocks(picture.metadata, form)
    with refusing(_REFUSED):
        pixels = _in_opencvs_order(picture.pixels, consume=consume)
        done = cv2.imwriteWithMetadata(str(path), pixels, kinds, blocks, _options(form, quality))
        _check(done and _is_whole(path, form), path)
    _complete(path, form, picture.metadata)


def _in_opencvs_order(pixels: Pixels, *, consume: bool) -> Pixels:
    if not (consume and pixels.flags.c_contiguous and pixels.flags.writeable):
        pixels = pixels.copy() if pixels.ndim == 3 else np.ascontiguousarray(pixels)
    swap_red_and_blue(pixels)
    return pixels


def _blocks(metadata: Metadata, form: str) -> tuple[list[int], list[Pixels]]:
    """The metadata that OpenCV itself writes into a format: the kinds, and the blocks."""
    found = {}
    if form in ("png", "jpeg", "webp", "avif"):
        found[cv2.IMAGE_METADATA_EXIF] = metadata.exif
    if form in ("png", "webp", "avif") or (
        form == "jpeg" and len(metadata.icc or b"") <= MOST_JPEG_ICC
    ):
        found[cv2.IMAGE_METADATA_ICCP] = metadata.icc
    if form in ("webp", "avif"):
        found[cv2.IMAGE_METADATA_XMP] = metadata.xmp
    blocks = {kind: np.frombuffer(block, np.uint8) for kind, block in found.items() if block}
    return list(blocks), list(blocks.values())


def _options(form: str, quality: int) -> list[int]:
    if form == "jpeg":
        return [
            *(cv2.IMWRITE_JPEG_QUALITY, quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ]
    if form == "webp" and quality == 100:
        # "Preserve" keeps the colour under full transparency too.
        return [cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR]
    if form == "avif":
        return [cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_SPEED, _AVIF_SPEED]
    return [cv2.IMWRITE_WEBP_QUALITY, quality] if form == "webp" else []


def _check(done: bool, path: Path | None = None) -> None:
    if done:
        return
    if path is not None:
        free = shutil.disk_usage(path.parent).free / 2**20
        raise PictureError(f"the result cannot be written whole ({free:.0f} MiB are free there)")
    raise PictureError("the result cannot be encoded in this format: use TIFF")


def _is_whole(path: Path, form: str) -> bool:
    """Whether a file has its end; OpenCV does not notice all that a full disk swallows."""
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
        file.seek(-min(12, length), os.SEEK_END)
        tail = file.read(12)
    if form == "webp":
        return length == 8 + int.from_bytes(head[4:8], "little")
    if form == "bmp":
        return length == int.from_bytes(head[2:6], "little")
    return tail.endswith(b"\xff\xd9" if form == "jpeg" else b"\0\0\0\0IEND\xae\x42\x60\x82")


def _complete(path: Path, form: str, metadata: Metadata) -> None:
    """Put in what OpenCV leaves out; the file is copied if that makes it longer."""
    with path.open("r+b") as file:
        head = file.read(HEAD)
        new = completed(form, head, metadata)
        if len(new) == len(head):
            file.seek(0)
            file.write(new)
            return
        with temporary(path.parent, path.suffix) as longer:
            with longer.open("wb") as copy:
                copy.write(new)
                shutil.copyfileobj(file, copy, 2**20)
            longer.replace(path)
