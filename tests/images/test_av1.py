"""Sizes of AV1 streams, from headers put together bit by bit."""

from __future__ import annotations

import pytest

from hat_deploy.errors import PictureError
from hat_deploy.images.av1 import frame_sizes

SIZE = "10011010" + f"{640 - 1:010b}" + f"{1200 - 1:011b}"
"""Ten and eleven bits for 640x1200."""

REDUCED = "0001100000"
PLAIN = "000000000000" + "0" * 12 + "010000"
TIMED = (
    "000"
    "0"
    "0"
    "1" + "0" * 64 + "1"
    "00101"  # ticks; equal, by a number of two zeros
    "1"
    "00011" + "0" * 42 + "1"
    "00001"  # delays of 4 bits, displayed, two points
     + ("0" * 12 + "00100" + "1" + "0" * 9 + "10000") * 2
)


def unit(kind: int, bits: str, *, extended: bool = False) -> bytes:
    body = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    head = bytes([kind << 3 | extended << 2 | 2]) + bytes(extended)
    return head + bytes([len(body) | 0x80, 0]) + body


@pytest.mark.parametrize("before", [REDUCED, PLAIN, TIMED], ids=["reduced", "plain", "timed"])
@pytest.mark.parametrize("extended", [False, True])
def test_the_size_is_behind_whatever_comes_before(before: str, extended: bool) -> None:
    stream = b"\x12\0" + unit(1, before + SIZE, extended=extended) + unit(6, "1" * 80)
    assert list(frame_sizes(stream)) == [(640, 1200)]
    assert list(frame_sizes(stream + unit(1, REDUCED + SIZE))) == [(640, 1200)] * 2


def test_damage_is_a_sentence() -> None:
    with pytest.raises(PictureError, match="a header too short"):
        list(frame_sizes(unit(1, REDUCED)))
    with pytest.raises(PictureError, match="a number without end"):
        list(frame_sizes(b"\x0a" + b"\xff" * 9))
    with pytest.raises(PictureError, match="over 4096 units"):
        list(frame_sizes(b"\x12\0" * 5000))
