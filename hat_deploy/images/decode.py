"""Files to images; a bad file is refused with a sentence, before decoding if its header tells."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hat_deploy.errors import PictureError, about_its_file
from hat_deploy.images.animations import decode_frames
from hat_deploy.images.exif import exif_density, is_sound, oriented, upright_exif
from hat_deploy.images.headers import Header, printable
from hat_deploy.images.kinds import inspect
from hat_deploy.images.metadata import XMP_MARK
from hat_deploy.images.opencv import refusing, swap_red_and_blue
from hat_deploy.images.picture import Density, Metadata, Picture, Pixels
from hat_deploy.images.xmp import upright_xmp

MAX_PIXELS = 2**28
"""Images with more pixels than this are refused unless the caller says otherwise."""

MAX_SIDE = 2**20
"""The longest side that OpenCV decodes."""

MOST_METADATA = 2**25
"""Bytes that a block of metadata may have; what is larger is dropped with a note."""


@about_its_file
def decode(path: Path, *, max_pixels: int = MAX_PIXELS, animations: bool = False) -> Picture:
    """Read a PNG, JPEG, WebP, AVIF, GIF, TIFF or BMP file, told by its content, not its name.

    Depth, gray and alpha are kept and the orientation is applied; the 10 or 12 bits of an AVIF
    are spread over 16. Palettes, CMYK, L*a*b*, gray with alpha and fewer than 8 bits are
    converted, and a note says so.

    Args:
        path: the file.
        max_pixels: how many it may have, in all its frames.
        animations: return all frames of a GIF or WebP; else one with several is refused.

    Raises:
        PictureError: the file cannot be read, is not a regular file, has another format,
            is truncated or damaged, holds several frames, has samples that are neither 8-bit
            nor 16-bit integers, or more than ``max_pixels`` pixels (told from its header).
    """
    with refusing("it cannot be read"):
        data = _read(path, 8 * max_pixels + 2**26)
    return decode_bytes(data, max_pixels=max_pixels, animations=animations)


def decode_bytes(data: bytes, *, max_pixels: int = MAX_PIXELS, animations: bool = False) -> Picture:
    """:func:`decode` for the content of a file."""
    with refusing("it cannot be decoded"):
        header = inspect(data)
        _refuse_size(header, max_pixels)
        if header.frames != 1:
            return _decode_animation(data, header, animations)
        pixels, found = _decode(header.patched or data)
        if header.fix is not None:
            pixels = header.fix(pixels)
        swap_red_and_blue(pixels)
        metadata, orientation, notes = _upright(header, found)
        pixels = np.ascontiguousarray(oriented(pixels, orientation))
    icc, dropped = _fitting_profile(metadata.icc, pixels)
    if header.has_profile and metadata.icc is None:
        dropped = ("damaged colour profile dropped",)
    return Picture(
        pixels=pixels,
        metadata=replace(metadata, icc=icc),
        notes=header.notes + notes + dropped,
    )


def _upright(header: Header, found: Metadata) -> tuple[Metadata, int, tuple[str, ...]]:
    """What header and OpenCV found, for the image when it is turned; and how to turn it."""
    exif, orientation, notes = _upright_exif(header.exif or found.exif)
    density = header.density or exif_density(exif)
    if density is not None and orientation >= 5:
        density = Density(density.y, density.x)
    xmp, too_much = _bounded(header.xmp or found.xmp, "XMP")
    metadata = replace(
        found,
        icc=header.icc or found.icc,
        exif=exif,
        xmp=xmp and upright_xmp(xmp),
        cicp=header.cicp or found.cicp,
        density=density,
    )
    return metadata, orientation, notes + too_much


def _bounded(block: bytes | None, what: str) -> tuple[bytes | None, tuple[str, ...]]:
    """A block of metadata, or None and a note if it is larger than any real one."""
    if block is None or len(block) <= MOST_METADATA:
        return block, ()
    return None, (f"{what} over {MOST_METADATA >> 20} MiB dropped",)


def _upright_exif(exif: bytes | None) -> tuple[bytes | None, int, tuple[str, ...]]:
    """What can be kept of a block, the orientation it gave, and a note on what cannot."""
    exif, too_much = _bounded(exif, "EXIF")
    if exif is None:
        return None, 1, too_much
    upright, orientation = upright_exif(exif)
    if upright is None:
        return None, 1, ("damaged EXIF dropped",)
    return upright, orientation, () if is_sound(exif) else ("damaged parts of the EXIF dropped",)


def _read(path: Path, largest: int) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"it is {_kind_of_node(status.st_mode)}, not a file")
        if status.st_size > largest:
            raise PictureError(
                f"the file has {status.st_size / 2**20:,.0f} MiB, more than an image of the "
                f"permitted size can need"
            )
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"it cannot be read: {error.strerror or error}") from error


def _kind_of_node(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _refuse_size(header: Header, max_pixels: int) -> None:
    size = f"{header.width}x{header.height}"
    if header.width < 1 or header.height < 1:
        raise PictureError(f"its header gives a size of {size}: the file is damaged")
    frames = f" in each of {header.frames} frames" if header.frames > 1 else ""
    if header.width * header.height * max(1, header.frames) > max_pixels:
        raise PictureError(
            f"it has {size} pixels{frames}, and at most {max_pixels:,} are permitted: "
            "raise the limit, --max-pixels, if you trust the file"
        )
    if max(header.width, header.height) > MAX_SIDE:
        raise PictureError(f"it has {size} pixels, and no side may be over {MAX_SIDE:,}")


def _decode_animation(data: bytes, header: Header, wanted: bool) -> Picture:
    """All frames of a GIF or WebP, if they are wanted."""
    if not header.moving:
        raise PictureError(
            f"it has {header.frames} frames; of animations, GIF and WebP are supported"
        )
    if not wanted:
        raise PictureError(f"it has {header.frames} frames; an image with one was expected")
    pixels, animation = decode_frames(data, header.frames)
    swap_red_and_blue(pixels)
    return Picture(pixels=pixels, animation=animation, notes=header.notes)


def _decode(data: bytes | bytearray) -> tuple[Pixels, Metadata]:
    """Pixels as OpenCV gives them: gray, BGR or BGRA, turned only if they come from a TIFF."""
    buffer = np.frombuffer(data, np.uint8)
    pixels, kinds, blocks = cv2.imdecodeWithMetadata(buffer, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.size == 0:
        raise PictureError("it cannot be decoded: the file is truncated or damaged")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise PictureError(f"it has {pixels.dtype} samples; expected 8 or 16-bit integers")
    found = dict(zip(kinds, (bytes(block.ravel()) for block in blocks), strict=True))
    xmp = found.get(cv2.IMAGE_METADATA_XMP, b"").removeprefix(XMP_MARK).rstrip(b"\0")
    return pixels, Metadata(
        icc=found.get(cv2.IMAGE_METADATA_ICCP),
        exif=found.get(cv2.IMAGE_METADATA_EXIF, b"").removeprefix(b"Exif\0\0") or None,
        xmp=xmp or None,
        cicp=found.get(cv2.IMAGE_METADATA_CICP) or None,
    )


def _fitting_profile(icc: bytes | None, pixels: Pixels) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile if it describes such pixels; else none, and a note."""
    icc, too_much = _bounded(icc, "colour profile")
    if icc is None:
        return None, too_much
    if len(icc) < 132 or icc[36:40] != b"acsp" or int.from_bytes(icc[:4], "big") != len(icc):
        return None, ("damaged colour profile dropped",)
    space = printable(icc[16:20].strip())
    needed = "GRAY" if pixels.ndim == 2 else "RGB"
    if space != needed:
        return None, (f"{space} colour profile dropped: the pixels are {needed}",)
    return icc, ()
