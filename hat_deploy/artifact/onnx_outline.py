"""What an ``.onnx`` consists of, read from its bytes: no library, no weights, little memory.

Protobuf's wire format: https://protobuf.dev/programming-guides/encoding/. Field numbers are those
of ``onnx.proto``. The walk enters what may hold nodes and skips the rest, so its time grows with
the number of nodes; a file with more parts than a network has is given up.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_PARTS = 2_000_000
"""Fields that are looked at. A HAT-L has 200,000."""
MAX_DESCRIPTION = 65_536
"""Bytes of an entry of the metadata that are read. A description has 1,000."""
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Operators that run a graph of their own, as often as the data says."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1


class Malformed(Exception):
    """The bytes are no ONNX model, or one with more parts than a network has."""


@dataclass(kw_only=True)
class Outline:
    """What was found."""

    metadata: dict[str, str] = field(default_factory=dict)
    """The model's ``metadata_props``."""
    ops: set[str] = field(default_factory=set)
    """Operators of all nodes, those of nested graphs included."""
    nested: bool = False
    """Whether there are graphs inside nodes, or functions."""
    inputs: int = 0
    outputs: int = 0
    external: bool = False
    """Whether a tensor's values are in another file."""


def read(content: mmap.mmap) -> Outline:
    """Walk over a whole file.

    Raises:
        Malformed: see there.
    """
    found = Outline()
    walk = _Walk(content, found)
    walk.model(len(content))
    return found


@dataclass(frozen=True)
class _Field:
    number: int
    value: int
    """Of a varint; 0 for others."""
    start: int
    stop: int
    """Where the payload lies, if it is length-delimited; otherwise both are 0."""

    @property
    def holds_bytes(self) -> bool:
        return self.stop > 0


class _Walk:
    def __init__(self, content: mmap.mmap, found: Outline) -> None:
        self._content = content
        self._found = found
        self._parts = 0

    def model(self, size: int) -> None:
        for part in self._fields(0, size):
            match part.number:
                case 7 if part.holds_bytes:
                    self._graph(part)
                case 14 if part.holds_bytes:
                    self._entry(part)
                case 25:
                    self._found.nested = True
        if not self._parts:
            raise Malformed("it is empty")

    def _entry(self, entry: _Field) -> None:
        texts = {}
        for part in self._inside(entry):
            if part.number in (1, 2) and part.holds_bytes:
                texts[part.number] = self._text(part)
        if 1 in texts:
            self._found.metadata[texts[1]] = texts.get(2, "")

    def _graph(self, graph: _Field) -> None:
        found = self._found
        for part in self._inside(graph):
            if not part.holds_bytes:
                continue
            match part.number:
                case 1:
                    self._node(part)
                case 5:
                    self._tensor(part)
                case 11:
                    found.inputs += 1
                case 12:
                    found.outputs += 1

    def _node(self, node: _Field) -> None:
        for part in self._inside(node):
            if part.number == 4 and part.holds_bytes:
                self._found.ops.add(self._text(part))
            elif part.number == 5 and part.holds_bytes:
                self._attribute(part)

    def _attribute(self, attribute: _Field) -> None:
        for part in self._inside(attribute):
            if part.number in (5, 10) and part.holds_bytes:
                self._tensor(part)
            elif part.number in (6, 11):
                self._found.nested = True

    def _tensor(self, tensor: _Field) -> None:
        for part in self._inside(tensor):
            if part.number == 13 or (part.number == 14 and part.value == _EXTERNAL):
                self._found.external = True

    def _text(self, part: _Field) -> str:
        if part.stop - part.start > MAX_DESCRIPTION:
            raise Malformed(f"a text in it has {part.stop - part.start:,} bytes")
        return self._content[part.start : part.stop].decode("utf-8", "replace")

    def _inside(self, part: _Field) -> Iterator[_Field]:
        return self._fields(part.start, part.stop)

    def _fields(self, at: int, stop: int) -> Iterator[_Field]:
        """The fields of a message that lies between two offsets."""
        while at < stop:
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise Malformed(f"it has more than {MAX_PARTS:,} parts")
            tag, at = self._varint(at, stop)
            number, kind = tag >> 3, tag & 7
            if number == 0 or tag >> 32:
                raise Malformed("it does not parse")
            if kind == _VARINT:
                value, at = self._varint(at, stop)
                yield _Field(number, value, 0, 0)
                continue
            if kind == _BYTES:
                length, at = self._varint(at, stop)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise Malformed("it does not parse")
            if length > stop - at:
                raise Malformed("it ends too early")
            held = (at, at + length) if kind == _BYTES else (0, 0)
            yield _Field(number, 0, *held)
            at += length

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """A number and the offset behind it."""
        value = shift = 0
        while True:
            if at >= stop or shift > 63:
                raise Malformed("it ends too early" if at >= stop else "it does not parse")
            byte = self._content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
