"""The size that an AV1 stream says its frames have, which is what decoding it takes memory for."""

from __future__ import annotations

from collections.abc import Iterator

from hat_deploy.errors import PictureError

_SEQUENCE_HEADER = 1
_LARGEST_HEADER = 1024
_MOST_UNITS = 4096


def frame_sizes(stream: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of the largest frame, by each sequence header of a stream.

    Raises:
        PictureError: its units are damaged, or too many.
        IndexError: it ends too early.

    Source: AV1 Bitstream & Decoding Process Specification, 5.3 and 5.5.
    """
    at = 0
    for _ in range(_MOST_UNITS):
        if at >= len(stream):
            return
        first = stream[at]
        at += 2 if first & 4 else 1
        length = len(stream) - at
        if first & 2:
            length, at = _leb128(stream, at)
        if first >> 3 & 15 == _SEQUENCE_HEADER:
            yield _largest(_Bits(stream[at : at + min(length, _LARGEST_HEADER)]))
        at += length
    raise PictureError(f"it is an AV1 stream of over {_MOST_UNITS} units: it is damaged")


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    value = 0
    for place in range(8):
        value |= (stream[at + place] & 0x7F) << 7 * place
        if not stream[at + place] & 0x80:
            return value, at + place + 1
    raise PictureError("the file is damaged: an AV1 stream with a number without end")


class _Bits:
    """Reads numbers bit by bit."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise PictureError("the file is damaged: an AV1 stream with a header too short")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)


def _largest(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile, whether a still
    if bits.take(1):
        bits.take(5)
    else:
        _pass_operating_points(bits, _delay_bits(bits))
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _delay_bits(bits: _Bits) -> int:
    """The bits of a delay by the decoder model; 0 if there is no such model."""
    if not bits.take(1):
        return 0
    bits.take(64)
    if bits.take(1):
        zeros = 0
        while not bits.take(1):
            zeros += 1
        bits.take(zeros)
    if not bits.take(1):
        return 0
    delay = bits.take(5) + 1
    bits.take(42)
    return delay


def _pass_operating_points(bits: _Bits, delay: int) -> None:
    displayed = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay and bits.take(1):
            bits.take(2 * delay + 1)
        if displayed and bits.take(1):
            bits.take(4)
