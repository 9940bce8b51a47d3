"""Why PyTorch could not write a network as ONNX, in a sentence that names the operator."""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPERATOR = re.compile(r"\b(?:torch\.ops\.)?(aten|prims|torchvision|higher_order)[.:]+(\w+)")
_LONGEST = 200
"""Characters of PyTorch's own words that are shown."""


def untraceable(network: str, error: BaseException) -> str:
    """What to tell the user.

    Args:
        network: its architecture.
        error: what ``torch.onnx.export`` raised, with what caused it.
    """
    chain = list(_chain(error))
    operator = next((found[0] for text in map(str, chain) if (found := _operators(text))), None)
    where = f" ({operator})" if operator else ""
    return f"a {network} cannot be written as ONNX{where}: {_first_words(chain[-1])}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _operators(text: str) -> list[str]:
    return [f"{space}.{name}" for space, name in _OPERATOR.findall(text)]


def _first_words(error: BaseException) -> str:
    """The first line that says something, cut to a readable length."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    line = next((line for line in lines if len(line) > len("Error:")), type(error).__name__)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
