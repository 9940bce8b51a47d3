"""Damage in the middle of a JPEG, which libjpeg decodes without a sign."""

from __future__ import annotations

import io
from random import Random

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from hat_deploy.errors import PictureError
from hat_deploy.images import decode_bytes

KINDS = {
    "baseline": {"subsampling": 0},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}
NOTE = "the file is damaged: parts of the image may be wrong"


def jpeg(kind: str) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(cv2.resize(data.astronaut(), (400, 300)))
    image.save(stream, "JPEG", quality=92, **KINDS[kind])
    return stream.getvalue()


def noted(content: bytes) -> bool:
    try:
        return NOTE in decode_bytes(content).notes
    except PictureError:
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_file_has_no_note(kind: str) -> None:
    assert decode_bytes(jpeg(kind)).notes == ()
    assert not noted(jpeg(kind) + b"more")


@pytest.mark.parametrize("kind", KINDS)
def test_stretches_of_other_bytes_are_noticed(kind: str) -> None:
    """512 of them: about 43 of 50; the rest hold nothing that looks like a marker."""
    sound, random = jpeg(kind), Random(0)
    found = 0
    for _ in range(50):
        at = random.randrange(3 * len(sound) // 10, 9 * len(sound) // 10)
        found += noted(sound[:at] + random.randbytes(512) + sound[at + 512 :])
    assert found >= 38


def test_missing_and_blank_stretches_are_noticed_where_there_are_restarts() -> None:
    sound = jpeg("restarts")
    middle, length = len(sound) // 2, 4096
    assert noted(sound[:middle] + sound[middle + length :])
    assert noted(sound[:middle] + bytes(length) + sound[middle + length :])


def test_the_price_is_small() -> None:
    """A file of runs of fill bytes and of restarts is looked through once."""
    sound = jpeg("baseline")
    at = sound.index(b"\xff\xda") + 20
    for filling in (b"\xff", b"\xff\xd0", b"\xff\0"):
        content = sound[:at] + filling * (2**21 // len(filling)) + b"\xff\xd9"
        assert isinstance(np.asarray(decode_bytes(content).pixels), np.ndarray)
