"""The networks this toolkit deploys, and what any of them is to the rest of the program.

A :class:`Shape` is a network without its weights; :func:`shape_of` reads one back. It needs no
torch and runs on Python 3.10. Only this folder knows the classes behind it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from hat_deploy.networks.shape import Shape

__all__ = ["Shape", "shape_of"]


def shape_of(values: Mapping[str, Any]) -> Shape:
    """The inverse of :meth:`Shape.to_dict`.

    Raises:
        ValueError: a value is unknown, missing or out of range.
    """
    from hat_deploy.networks.by_spandrel import shape as by_spandrel
    from hat_deploy.networks.edsr import config as edsr
    from hat_deploy.networks.hat import config as hat
    from hat_deploy.networks.swinir import config as swinir

    if values.get("library") == by_spandrel.LIBRARY:
        return by_spandrel.SpandrelShape.from_dict(values)
    architecture = values.get("architecture", hat.NAME)  # artifacts of earlier releases are HATs
    if architecture == hat.NAME:
        return hat.HATConfig.from_dict(values)
    if architecture == swinir.NAME:
        return swinir.SwinIRConfig.from_dict(values)
    if architecture == edsr.NAME:
        return edsr.EDSRConfig.from_dict(values)
    raise ValueError(
        f"architecture is {reprlib.repr(architecture)}; this release knows {hat.NAME}, "
        f"{swinir.NAME} and {edsr.NAME}, and what {by_spandrel.LIBRARY} knows"
    )
