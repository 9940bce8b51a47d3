"""What an artifact says about itself, and reading it back without any library.

The description is one JSON object. An ``.onnx`` carries it in ``metadata_props``; reading it
takes a walk over the file's outermost protobuf fields, which skips graph and weights. A
``.plan`` carries it in the network's name, which TensorRT keeps as plain bytes: it is searched.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from hat_deploy.errors import ArtifactError

SUFFIXES = (".onnx", ".plan")
METADATA_KEY = "hat-deploy"
PLAN_MARKER = "hat-deploy:"
"""What a plan's network name starts with; the JSON follows."""
FUSED_ATTENTION = b"struct _gemm_mha_v2_params_t"
"""How a line of a plan's kernel sources starts that belongs to a fused attention."""
FORMAT = 1
"""Raised when a description changes so that older releases would misread it."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """Enough to run an artifact, and to rebuild the shape of the network it came from."""

    model: str
    """Name for people: a shipped model's, or the checkpoint's file name without suffix."""
    config: dict[str, Any]
    """``HATConfig.to_dict()`` of the network."""
    scale: int
    window: int
    """Heights, widths and tile offsets are multiples of it."""
    channels: int
    tile: tuple[int, int]
    """Height and width of the input, halo included."""
    batch: int
    halo: int
    """Default halo; the one in force is chosen when the artifact is run."""
    precision: str
    """``fp32``, ``fp16``, ``bf16`` or ``fp16-pure``."""
    io: str
    """``float``: NCHW float32 RGB in [0, 1]. ``uint8``: NHWC bytes."""
    checkpoint_sha256: str
    versions: dict[str, str]
    """Versions of this tool and of the libraries that made the artifact."""
    targets: tuple[str, ...] = ()
    """GPUs a plan was built for, such as ``sm89``; empty where that does not matter."""
    format: int = field(default=FORMAT)

    def to_json(self) -> str:
        """The description as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, origin: Path) -> Description:
        """Parse a description found in ``origin``.

        Raises:
            ArtifactError: it is damaged, or of a newer format than this release reads.
        """
        try:
            values = json.loads(text)
            written = values["format"]
            if written > FORMAT:
                raise ArtifactError(
                    f"{origin} was made by a newer hat-deploy (description format {written}, "
                    f"this release reads up to {FORMAT}): upgrade hat-deploy"
                )
            known = {f.name for f in fields(cls)}
            values = {name: value for name, value in values.items() if name in known}
            values["tile"] = tuple(values["tile"])
            values["targets"] = tuple(values["targets"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(
                f"{origin} carries a damaged description ({error}): export it again"
            ) from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe(path: Path) -> Description:
    """Read the description of an artifact; needs no engine, no GPU and no library.

    Raises:
        ArtifactError: the file is missing, damaged, of another kind, or was made by
            another tool.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file; an artifact (.onnx or .plan) was expected")
    if path.suffix.lower() == ".onnx":
        return _describe_onnx(path)
    if path.suffix.lower() == ".plan":
        return _describe_plan(path)
    raise ArtifactError(
        f"{path} has the suffix {path.suffix or '(none)'}; an artifact ends in .onnx or .plan"
    )


def _describe_onnx(path: Path) -> Description:
    text = None
    with path.open("rb") as stream:
        size = path.stat().st_size
        try:
            for number, payload in _outer_fields(stream, size, wanted={_METADATA_PROPS}):
                entries = dict(_strings(payload)) if number == _METADATA_PROPS else {}
                if entries.get(1) == METADATA_KEY:
                    text = entries.get(2)
        except _Malformed as error:
            raise ArtifactError(
                f"{path} is not a whole ONNX file ({error}): it is damaged, truncated or "
                "something else; export it again"
            ) from error
    if text is None:
        raise ArtifactError(
            f"{path} does not describe itself: it was not made by 'hat-deploy export'; "
            "export the checkpoint with it"
        )
    return Description.from_json(text, path)


def fused_attentions(path: Path) -> int:
    """Fused attention kernels in a plan, counted in the sources it carries.

    Raises:
        ArtifactError: the file is empty.
    """
    with _mapped(path) as content:
        return len(re.findall(rb"(?<![ -~])" + FUSED_ATTENTION, content))


def _describe_plan(path: Path) -> Description:
    marker = (PLAN_MARKER + "{").encode()
    with _mapped(path) as content:
        _require_whole(path, content)
        start = content.find(marker)
        if start < 0:
            raise ArtifactError(
                f"{path} does not describe itself: it is damaged, truncated, or was not made by "
                "'hat-deploy export'; export the checkpoint with it"
            )
        start += len(PLAN_MARKER)
        text = content[start : start + _LONGEST_DESCRIPTION].decode("utf-8", "replace")
    try:
        _, length = json.JSONDecoder().raw_decode(text)
    except ValueError:
        length = len(text)  # from_json says what is wrong with it
    return Description.from_json(text[:length], path)


def _require_whole(path: Path, content: mmap.mmap) -> None:
    """A plan of TensorRT for RTX states its length, in the eight bytes from 16 on."""
    stated = int.from_bytes(content[16:24], "little")
    if content[:4] == b"vtrt" and stated > len(content):
        raise ArtifactError(
            f"{path} holds {len(content)} of the {stated} bytes it states: it is truncated; "
            "copy it again, or export it again"
        )


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    if path.stat().st_size == 0:
        raise ArtifactError(f"{path} is empty: export it again")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
        yield m


_LONGEST_DESCRIPTION = 4096  # TensorRT keeps no longer name

# Protobuf's wire format: https://protobuf.dev/programming-guides/encoding/
_METADATA_PROPS = 14  # ModelProto.metadata_props in onnx.proto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Malformed(Exception):
    pass


def _outer_fields(stream: BinaryIO, size: int, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    """The fields of a message; the payload is read for wanted ones and skipped for others."""
    seen = 0
    while stream.tell() < size:
        tag = _varint(stream)
        number, kind = tag >> 3, tag & 7
        payload = b""
        if kind == _VARINT:
            _varint(stream)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
                length = _varint(stream)
            if length is None or number == 0:
                raise _Malformed("it does not parse")
            if stream.tell() + length > size:
                raise _Malformed("it ends too early")
            if number in wanted:
                payload = stream.read(length)
            else:
                stream.seek(length, 1)
        seen += 1
        yield number, payload
    if not seen:
        raise _Malformed("it is empty")


def _strings(message: bytes) -> Iterator[tuple[int, str]]:
    stream = io.BytesIO(message)
    for number, payload in _outer_fields(stream, len(message), wanted={1, 2}):
        yield number, payload.decode("utf-8", "replace")


def _varint(stream: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = stream.read(1)
        if not byte or shift > 63:
            raise _Malformed("it ends too early" if not byte else "it does not parse")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
