"""What a plan of TensorRT for RTX does on a GPU, read from the launch program inside it.

The program is text: memory regions, tensors with their sizes, and a line for every launch with its
arguments. TensorRT writes it for itself and documents it nowhere. Whatever is not as expected
means "unknown", never a number: a plan of TensorRT proper has no such text.
"""

from __future__ import annotations

import math
import mmap
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hat_deploy.artifact.mapped import mapped

ATTENTION, PRODUCT, CONVOLUTION = "fused attention", "matrix product", "convolution"
REDUCTION, ELEMENTWISE, OTHER = "norm or average", "copy or element-wise", "other"

_START = b"header {\n  version = "
_LONGEST = 1 << 25
"""Bytes of a program's text; a full HAT's takes 1.3 MB."""
_MOST_PROGRAMS = 16
"""As many as GPUs a plan can be built for, and more."""
_HEADER = 1 << 16
"""Bytes in which a program says what it is for."""
_MOST_HEADERS = 10_000
_ON_A_GPU = b"\n  accelerators={sm"
_ELEMENT = {"double": 8, "int64": 8, "float": 4, "int32": 4, "half": 2, "bfloat16": 2}
_ELEMENT |= {"int8": 1, "uint8": 1, "bool": 1, "fp8": 1}
_MOST_DIMENSIONS = 16

# No class here matches what starts the pattern, so that no text makes a search quadratic.
_TARGETS = re.compile(r"^  accelerators=\{(sm\d{2,3}(?: sm\d{2,3})*) *\}$", re.M)
_SCRATCH = re.compile(r"^  region = \{ name=devmem\w* size=(\d{1,18}) ", re.M)
_DIMS = re.compile(r" dims=\{ ([\d ]*)\} ")
_NAME = re.compile(r' name="([^"]*)" ')
_TYPE = re.compile(r" type=(\w+) \}$")
_LAUNCH = re.compile(r"^  (\w+)=\{ ")
_ARGUMENTS = re.compile(r" (?:input|input_args|output|output_args)=\{([^{}]*)\}")
_ARGUMENT = re.compile(r'"([^"]*)"')
_NO_LAUNCH = ("signal", "wait")
"""Lines that order two streams."""


@dataclass(frozen=True)
class Kernels:
    """The launches of one kind."""

    kind: str
    launches: int
    bytes: int
    """Of their arguments, each counted once a launch; what a cache keeps is not left out."""


@dataclass(frozen=True)
class Program:
    """What one call launches on the GPUs that share a program."""

    targets: tuple[str, ...]
    """Such as ``sm89``."""
    scratch: int
    """Bytes on the GPU for all that is alive between launches; weights come on top."""
    kernels: tuple[Kernels, ...]
    """By kind, the most bytes first."""

    @property
    def launches(self) -> int:
        """Kernels of one call."""
        return sum(kernels.launches for kernels in self.kernels)

    @property
    def bytes(self) -> int:
        """Bytes that the kernels of one call take as arguments."""
        return sum(kernels.bytes for kernels in self.kernels)

    @property
    def fused_attentions(self) -> int:
        """Attentions that are one kernel."""
        return sum(each.launches for each in self.kernels if each.kind == ATTENTION)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        totals = {name: getattr(self, name) for name in ("launches", "bytes", "fused_attentions")}
        return asdict(self) | totals


def read_programs(path: Path) -> tuple[Program, ...] | None:
    """The launch programs of a plan, mostly one for all GPUs it was built for; None: unknown.

    Raises:
        ArtifactError: the file is empty.
    """
    with mapped(path) as content:
        texts = list(_texts(content))
    try:
        return tuple(map(_program, texts)) or None
    except ValueError:
        return None


def lines(programs: tuple[Program, ...] | None) -> Iterator[str]:
    """The totals as text."""
    if programs is None:
        yield "launches    unknown: only plans of TensorRT for RTX carry a program to read"
    for program in programs or ():
        yield (
            f"launches    {program.launches} kernels a call on {', '.join(program.targets)}, "
            f"{program.fused_attentions} of them fused attentions; they move "
            f"{program.bytes / 1e9:.2f} GB; scratch {program.scratch / 1e6:,.0f} MB"
        )


def _texts(content: mmap.mmap) -> Iterator[str]:
    """Each program's text, cut off where it is longer than any."""
    for start in islice(_starts(content), _MOST_PROGRAMS):
        end = content.find(b"\0", start, start + _LONGEST)
        yield content[start : end if end > 0 else start + _LONGEST].decode("latin-1")


def _starts(content: mmap.mmap) -> Iterator[int]:
    """Where programs begin that a call runs; fused kernels have programs of their own."""
    start = -1
    for _ in range(_MOST_HEADERS):
        start = content.find(_START, start + 1)
        if start < 0:
            return
        if content.find(_ON_A_GPU, start, start + _HEADER) > 0:
            yield start


def _program(text: str) -> Program:
    """Raises ValueError where it is not as expected, the way libraries write it."""
    declarations, found, rest = text.partition("\nmain {\n")
    body, closed, _ = rest.partition("\n}\n")
    targets, scratch = _TARGETS.search(declarations), _SCRATCH.findall(declarations)
    if not (found and closed and targets and scratch):
        raise ValueError("no whole program")
    sizes = dict(_tensors(declarations))
    launches: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    for line in body.split("\n"):
        match = _LAUNCH.match(line)
        if match is not None and match[1] not in _NO_LAUNCH:
            kind = _kind(match[1], line)
            launches[kind] += 1
            moved[kind] += sum(_argument_bytes(line, sizes))
    if not launches:
        raise ValueError("no launches")
    if not sum(moved.values()):
        raise ValueError("no bytes")
    kernels = (Kernels(kind, count, moved[kind]) for kind, count in launches.items())
    return Program(
        targets=tuple(targets[1].split()),
        scratch=sum(map(int, scratch)),
        kernels=tuple(sorted(kernels, key=lambda each: -each.bytes)),
    )


def _tensors(declarations: str) -> Iterator[tuple[str, int]]:
    """Every tensor and its bytes, views of others included."""
    for line in declarations.split("\n"):
        if not line.startswith(("  tensor={", "  sub_tensor={")):
            continue
        dims, name, kind = _DIMS.search(line), _NAME.search(line), _TYPE.search(line)
        if not (dims and name and kind) or kind[1] not in _ELEMENT:
            raise ValueError("a tensor of an unknown kind")
        sides = dims[1].split()
        if len(sides) > _MOST_DIMENSIONS or any(len(side) > 12 for side in sides):
            raise ValueError("a tensor of an unlikely size")
        yield name[1], math.prod(map(int, sides)) * _ELEMENT[kind[1]]


def _argument_bytes(line: str, sizes: Mapping[str, int]) -> Iterator[int]:
    for match in _ARGUMENTS.finditer(line):
        for name in _ARGUMENT.findall(match[1]):
            if name not in sizes:
                raise ValueError("an argument that is no tensor")
            yield sizes[name]


def _kind(operation: str, line: str) -> str:
    """What a launch is, by the operation and, where kernels were made for it, what they hold."""
    if operation == "corrltn" or " backbone=conv }" in line:
        return CONVOLUTION
    if operation == "fully_connected" or " backbone=gemm }" in line:
        return PRODUCT
    if " name=_gemm_mha_" in line:
        return ATTENTION
    if operation == "function":
        return REDUCTION if " kernel_kind=2 " in line else ELEMENTWISE
    return OTHER
