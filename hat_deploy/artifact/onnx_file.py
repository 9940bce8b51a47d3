"""Reading an ``.onnx``: its description, and what it consists of, from its bytes alone.

The description lies in ``metadata_props``. A walk over the file's protobuf fields finds it: no
library, no weights, little memory. The walk enters what may hold nodes and skips the rest, so its
time grows with the number of nodes; it gives up on a file with more parts than a network has.
Wire format: https://protobuf.dev/programming-guides/encoding/; field numbers: ``onnx.proto``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hat_deploy.artifact.description import Description
from hat_deploy.artifact.mapped import mapped
from hat_deploy.errors import ArtifactError

METADATA_KEY = "hat-deploy"
"""The entry of ``metadata_props`` that holds the description."""
MAX_PARTS = 2_000_000
"""Fields that are looked at. A HAT-L has 200,000."""
MAX_DESCRIPTION = 262_144
"""Bytes of an entry of the metadata that are read. A description has 1,000, and 100 more for each
layer that stays in fp32 by a search."""
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


def outline_of(content: mmap.mmap) -> Outline:
    """Walk over a whole file.

    Raises:
        Malformed: it is no whole ONNX file, or has too many parts.
    """
    found = Outline()
    walk = _Walk(content, found)
    walk.model(len(content))
    return found


def read_description(path: Path) -> Description:
    """The description of an ``.onnx``.

    Raises:
        ArtifactError: the file is damaged, was not made here, or has parts that none of ours has.
    """
    with mapped(path) as content:
        try:
            outline = outline_of(content)
        except Malformed as error:
            raise ArtifactError(
                f"{path} is not a whole ONNX file ({error}): it is damaged, truncated or "
                "something else; export it again"
            ) from error
    text = outline.metadata.get(METADATA_KEY)
    if text is None:
        raise ArtifactError(
            f"{path} does not describe itself: it was not made by 'hat-deploy export'; "
            "export the checkpoint with it"
        )
    found = Description.from_json(text, path)
    if reason := _foreign(outline, found):
        raise ArtifactError(
            f"{path} {reason}; no file that 'hat-deploy export' writes does, so it is not run: "
            "export the checkpoint again"
        )
    return found


def _foreign(outline: Outline, described: Description) -> str | None:
    """What a graph has that none of ours has, and that may take any time or read any file.

    Args:
        described: what it says about itself.
    """
    if flow := sorted(outline.ops & CONTROL_FLOW):
        return f"has control flow ({', '.join(flow)}), which may run for any time"
    if outline.nested:
        return "has graphs inside its graph, or functions, which may run for any time"
    if outline.external:
        return "keeps values in another file"
    exact = described.averages is not None
    inputs = 5 if exact else 1
    outputs = len(described.outputs) or (2 if exact else 1)
    if (outline.inputs, outline.outputs) != (inputs, outputs):
        return (
            f"has {outline.inputs} inputs and {outline.outputs} outputs, where {inputs} and "
            f"{outputs} were expected"
        )
    return None


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
