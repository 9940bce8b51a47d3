"""What an artifact says about itself, and reading it back without any library.

The description is one JSON object. An ``.onnx`` carries it in ``metadata_props``; reading it
takes a walk over the file's protobuf fields (:mod:`hat_deploy.artifact.onnx_outline`), which
skips the weights and refuses what may run for any time. A ``.plan`` carries it in the network's
name, which TensorRT keeps as plain bytes: it is searched.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hat_deploy.artifact import onnx_outline
from hat_deploy.artifact.onnx_outline import Outline
from hat_deploy.errors import ArtifactError, UsageError, about_its_file
from hat_deploy.geometry import check_tile
from hat_deploy.networks.hat.config import MAX_WINDOW, SCALES, HATConfig
from hat_deploy.networks.limits import check_network

SUFFIXES = (".onnx", ".plan")
METADATA_KEY = "hat-deploy"
PLAN_MARKER = "hat-deploy:"
"""What a plan's network name starts with; the JSON follows."""
FUSED_ATTENTION = b"struct _gemm_mha_v2_params_t"
"""How a line of a plan's kernel sources starts that belongs to a fused attention."""
FORMAT = 1
"""Raised when a description changes so that older releases would misread it."""
PRECISIONS = ("fp32", "fp16", "bf16", "fp16-pure")
IO_KINDS = ("float", "uint8")

_LONGEST_SIDE = 65_536
_LONGEST_NAME = 1000
_MOST_ENTRIES = 100
_COUNTS = (
    ("format", 1, FORMAT),
    ("scale", 1, SCALES[-1]),
    ("window", 1, MAX_WINDOW),
    ("channels", 1, 3),
    ("batch", 1, 65_536),
    ("halo", 0, _LONGEST_SIDE),
)
"""Whole numbers of a description, with the least and the most that they may be."""


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
    """One of :data:`PRECISIONS`."""
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
        """Parse and check a description found in ``origin``.

        Raises:
            ArtifactError: it is damaged, says what no artifact of ours can be, or is of a newer
                format than this release reads.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError(f"it is {reprlib.repr(values)}, not an object")
            if type(values["format"]) is int and values["format"] > FORMAT:
                raise ArtifactError(
                    f"{origin} was made by a newer hat-deploy (description format "
                    f"{reprlib.repr(values['format'])}, this release reads up to {FORMAT}): "
                    "upgrade hat-deploy"
                )
            known = {f.name for f in fields(cls)}
            values = {name: value for name, value in values.items() if name in known}
            _check_types(values)
            values["tile"] = tuple(values["tile"])
            values["targets"] = tuple(values.get("targets", ()))
            found = cls(**values)
            _check_sense(found)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            missing = isinstance(error, KeyError)
            reason = f"it lacks {error}" if missing else " ".join(str(error).split())
            raise ArtifactError(
                f"{origin} carries a damaged description ({reason}): export it again"
            ) from error
        return found


def _check_types(values: Mapping[str, Any]) -> None:
    """Refuse values of other types, before anything is computed with them.

    Raises:
        ValueError: which one, and what was expected.
        KeyError: one is missing.
    """
    for name, least, most in _COUNTS:
        value = values[name]
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"{name} is {reprlib.repr(value)}; expected a whole number from {least} to {most}"
            )
    tile = values["tile"]
    if not _all(tile, list, lambda side: type(side) is int and 0 < side <= _LONGEST_SIDE, 2):
        raise ValueError(f"tile is {reprlib.repr(tile)}; expected [height, width] in pixels")
    for name in ("model", "precision", "io", "checkpoint_sha256"):
        if not _is_name(values[name]):
            raise ValueError(f"{name} is {reprlib.repr(values[name])}; expected a short text")
    if not _all(values.get("targets", []), list, _is_name):
        raise ValueError(f"targets is {reprlib.repr(values['targets'])}; expected a list of GPUs")
    versions = values["versions"]
    if not _all(versions, dict, lambda x: _is_name(x) and _is_name(versions[x])):
        raise ValueError(
            f"versions is {reprlib.repr(versions)}; expected a version for each library"
        )
    if not isinstance(values["config"], dict):
        raise ValueError(f"config is {reprlib.repr(values['config'])}; expected an object")


def _all(
    value: object,
    kind: type[list[Any] | dict[Any, Any]],
    test: Callable[[Any], bool],
    length: int = 0,
) -> bool:
    """Whether it is a collection of that kind and length, few things of which each passes."""
    if not isinstance(value, kind) or len(value) > _MOST_ENTRIES:
        return False
    return (not length or len(value) == length) and all(map(test, value))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_NAME


def _check_sense(found: Description) -> None:
    """Refuse what no export writes.

    Raises:
        ValueError: which value, and what was expected.
    """
    if found.channels not in (1, 3):
        raise ValueError(f"channels is {found.channels}; expected 1 or 3")
    for name, value, known in (
        ("precision", found.precision, PRECISIONS),
        ("io", found.io, IO_KINDS),
    ):
        if value not in known:
            raise ValueError(f"{name} is {reprlib.repr(value)}; expected {' or '.join(known)}")
    if not re.fullmatch("[0-9a-f]{64}", found.checkpoint_sha256):
        raise ValueError(
            f"checkpoint_sha256 is {reprlib.repr(found.checkpoint_sha256)}; expected 64 "
            "hexadecimal digits"
        )
    config = HATConfig.from_dict(found.config)
    check_network(config)
    for name, count, own in (
        ("scale", found.scale, config.scale),
        ("window", found.window, config.window_size),
        ("channels", found.channels, config.in_channels),
    ):
        if count != own:
            raise ValueError(f"{name} is {count}, and its config says {own}")
    try:
        check_tile(found.tile, found.halo, found.window)
    except UsageError as error:
        raise ValueError(str(error)) from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@about_its_file
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
    with _mapped(path) as content:
        try:
            outline = onnx_outline.read(content)
        except onnx_outline.Malformed as error:
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
    if reason := _foreign(outline):
        raise ArtifactError(
            f"{path} {reason}; no file that 'hat-deploy export' writes does, so it is not run: "
            "export the checkpoint again"
        )
    return Description.from_json(text, path)


def _foreign(outline: Outline) -> str | None:
    """What a graph has that none of ours has, and that may take any time or read any file."""
    if flow := sorted(outline.ops & onnx_outline.CONTROL_FLOW):
        return f"has control flow ({', '.join(flow)}), which may run for any time"
    if outline.nested:
        return "has graphs inside its graph, or functions, which may run for any time"
    if outline.external:
        return "keeps values in another file"
    if (outline.inputs, outline.outputs) != (1, 1):
        return f"has {outline.inputs} inputs and {outline.outputs} outputs, not one of each"
    return None


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
    except (ValueError, RecursionError):
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
