"""The frames of GIF and animated WebP, decoded to one array and encoded from it."""

from __future__ import annotations

import cv2
import numpy as np

from hat_deploy.errors import PictureError
from hat_deploy.images.opencv import bands, refusing, swap_red_and_blue
from hat_deploy.images.picture import Animation, Picture, Pixels

_GIF = [
    *(cv2.IMWRITE_GIF_QUALITY, 8),
    *(cv2.IMWRITE_GIF_DITHER, 3),
    *(cv2.IMWRITE_GIF_TRANSPARENCY, 128),
]
"""A palette for each frame, dithered, and transparency from where alpha is under a half."""

_WEBP_LOSSLESS = 101


def decode_frames(data: bytes | bytearray, frames: int) -> tuple[Pixels, Animation]:
    """The frames of a file, one below the other, as OpenCV gives them: BGR or BGRA.

    Raises:
        PictureError: there are not as many as the header said.
    """
    done, found = cv2.imdecodeanimation(np.frombuffer(data, np.uint8))
    if not done or len(found.frames) != frames:
        raise PictureError("it cannot be decoded: the file is truncated or damaged")
    durations = tuple(int(duration) for duration in found.durations)
    sheet = np.concatenate([np.asarray(frame) for frame in found.frames])
    return opaque(sheet), Animation(durations=durations, loops=int(found.loop_count))


def opaque(pixels: Pixels) -> Pixels:
    """The image without its alpha, if nothing in it is transparent."""
    if pixels.ndim == 2 or pixels.shape[2] != 4:
        return pixels
    if any((pixels[rows, :, 3] != 255).any() for rows in bands(pixels)):
        return pixels
    return np.ascontiguousarray(pixels[..., :3])


def encode_frames(picture: Picture, form: str, quality: int, *, consume: bool) -> bytes:
    """A GIF of any image, or a WebP of an animation.

    Args:
        picture: 8-bit.
        form: ``gif`` or ``webp``.
        quality: 1 to 100, for WebP; 100 is lossless.
        consume: the pixels may be spoilt.

    Raises:
        PictureError: it cannot be encoded.
    """
    with refusing("the result cannot be encoded"):
        animation = cv2.Animation()
        animation.frames = [_in_opencvs_order(frame, consume) for frame in picture.frames]
        played = picture.animation or Animation(durations=(0,), loops=0)
        animation.durations = list(played.durations)
        animation.loop_count = played.loops
        webp = [cv2.IMWRITE_WEBP_QUALITY, _WEBP_LOSSLESS if quality == 100 else quality]
        done, data = cv2.imencodeanimation(f".{form}", animation, _GIF if form == "gif" else webp)
        if not done:
            raise PictureError("the result cannot be encoded in this format: use PNG or TIFF")
    return bytes(data.tobytes())


def _in_opencvs_order(frame: Pixels, consume: bool) -> Pixels:
    if frame.ndim == 2:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
    usable = consume and frame.flags.c_contiguous and frame.flags.writeable
    own = frame if usable else frame.copy()
    swap_red_and_blue(own)
    return own
