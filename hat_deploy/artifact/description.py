"""What an artifact says about itself: one JSON object, checked before it is believed."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hat_deploy.artifact.self_test import SelfTest
from hat_deploy.errors import ArtifactError, UsageError
from hat_deploy.geometry import check_tile
from hat_deploy.networks import shape_of
from hat_deploy.networks.assignment import Assignment
from hat_deploy.networks.limits import MAX_MULTIPLE, MAX_SCALE, check_network
from hat_deploy.precision import Precision

FORMAT = 1
"""Raised when a description changes so that older releases would misread it."""
PRECISIONS = tuple(Precision)
IO_KINDS = ("float", "uint8")
MADE_FOR = ("any", "tensorrt")
PEAK = "peak"
"""The output of an artifact for bytes that holds, for each tile of a batch, the largest magnitude
of its values before they were rounded; infinite if one of them was not finite. (B,) float32."""

_LONGEST_SIDE = 65_536
_LONGEST_NAME = 1000
_MOST_ENTRIES = 100
_MOST_AVERAGES = 65_536
_COUNTS = (
    ("format", 1, FORMAT),
    ("scale", 1, MAX_SCALE),
    ("window", 1, MAX_MULTIPLE),
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
    """What :func:`hat_deploy.networks.shape_of` reads the network's shape back from."""
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
    made_for: str = "any"
    """``tensorrt``: the graph is spelled for its fused kernels; other engines run it too."""
    any_size: bool = False
    """Whether height and width may be any multiples of the window; ``tile`` is then what large
    images are cut into."""
    targets: tuple[str, ...] = ()
    """GPUs a plan was built for, such as ``sm89``; empty where that does not matter."""
    averages: tuple[int, int] | None = None
    """Of an exact artifact, which takes and gives averages: how many, of how many channels each."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs, the image's first; empty in older artifacts, which have one."""
    assignment: Assignment | None = None
    """Which layers compute in half, where a search found it; None where the architecture says, and
    in a plan, which has no room for it."""
    mixed: str = ""
    """The same in a sentence, in a plan too."""
    self_test: SelfTest | None = None
    """Values of the reference; None in older artifacts."""
    origin: str | None = None
    """Where the checkpoint was downloaded from, ``hf:ORG/NAME@COMMIT/FILE``; None where it was a
    file."""
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
            if values.get("averages") is not None:
                values["averages"] = tuple(values["averages"])
            for name in ("targets", "outputs"):
                values[name] = tuple(values.get(name, ()))
            if values.get("assignment") is not None:
                values["assignment"] = Assignment.from_dict(values["assignment"])
            if values.get("self_test") is not None:
                values["self_test"] = SelfTest.from_dict(values["self_test"])
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
    averages = values.get("averages")
    if averages is not None and not _all(
        averages, list, lambda n: type(n) is int and 0 < n <= _MOST_AVERAGES, 2
    ):
        raise ValueError(
            f"averages is {reprlib.repr(averages)}; expected [how many, channels of each]"
        )
    for name in ("model", "precision", "io", "checkpoint_sha256"):
        if not _is_name(values[name]):
            raise ValueError(f"{name} is {reprlib.repr(values[name])}; expected a short text")
    if not _is_name(values.get("mixed", "")):
        raise ValueError(f"mixed is {reprlib.repr(values['mixed'])}; expected a short text")
    if type(any_size := values.get("any_size", False)) is not bool:
        raise ValueError(f"any_size is {reprlib.repr(any_size)}; expected true or false")
    if (origin := values.get("origin")) is not None and not _is_name(origin):
        raise ValueError(f"origin is {reprlib.repr(origin)}; expected a short text")
    if not _all(values.get("targets", []), list, _is_name):
        raise ValueError(f"targets is {reprlib.repr(values['targets'])}; expected a list of GPUs")
    if not _all(values.get("outputs", []), list, _is_name):
        raise ValueError(f"outputs is {reprlib.repr(values['outputs'])}; expected a list of names")
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
        ("made_for", found.made_for, MADE_FOR),
    ):
        if value not in known:
            raise ValueError(f"{name} is {reprlib.repr(value)}; expected {' or '.join(known)}")
    if not re.fullmatch("([0-9a-f]{64})?", found.checkpoint_sha256):
        raise ValueError(
            f"checkpoint_sha256 is {reprlib.repr(found.checkpoint_sha256)}; expected 64 "
            "hexadecimal digits"
        )
    shape = shape_of(found.config)
    check_network(shape)
    for name, count, own in (
        ("scale", found.scale, shape.scale),
        ("window", found.window, shape.window),
        ("channels", found.channels, shape.channels),
    ):
        if count != own:
            raise ValueError(f"{name} is {count}, and its config says {own}")
    try:
        check_tile(found.tile, found.halo, found.window)
    except UsageError as error:
        raise ValueError(str(error)) from error
