"""Reading a ``.plan``, a network as TensorRT built it, without TensorRT.

The description lies in the network's name, which TensorRT keeps as plain bytes: it is searched.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path

from hat_deploy.artifact.description import Description
from hat_deploy.artifact.mapped import mapped
from hat_deploy.errors import ArtifactError

PLAN_MARKER = "hat-deploy:"
"""What a plan's network name starts with; the JSON follows."""
RTX_MAGIC = b"vtrt"
"""How plans of TensorRT for RTX begin, and no others."""
_LONGEST_DESCRIPTION = 4096
"""Bytes; TensorRT keeps no longer name."""


def read_description(path: Path) -> Description:
    """The description of a plan.

    Raises:
        ArtifactError: the file is damaged, truncated, or was not made here.
    """
    marker = (PLAN_MARKER + "{").encode()
    with mapped(path) as content:
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
    if content[: len(RTX_MAGIC)] == RTX_MAGIC and stated > len(content):
        raise ArtifactError(
            f"{path} holds {len(content)} of the {stated} bytes it states: it is truncated; "
            "copy it again, or export it again"
        )
