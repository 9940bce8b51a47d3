"""The fields of a config as JSON types and back, and what differs between two configs."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    C = TypeVar("C", bound=DataclassInstance)


def to_json(config: DataclassInstance, architecture: str) -> dict[str, Any]:
    """The architecture's name and every field, tuples as lists."""
    values = {"architecture": architecture} | asdict(config)
    return {n: list(value) if isinstance(value, tuple) else value for n, value in values.items()}


def from_json(kind: type[C], architecture: str, values: Mapping[str, Any]) -> C:
    """The inverse of :func:`to_json`.

    Raises:
        ValueError: a field is unknown, missing or out of range.
    """
    own = {name: value for name, value in values.items() if name != "architecture"}
    unknown = sorted(set(own) - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"unknown {architecture} config fields: {reprlib.repr(unknown)}")
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in own.items()
    }
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"incomplete {architecture} config: {error}") from error


def differences(one: DataclassInstance, other: object) -> dict[str, tuple[object, object]]:
    """Values of the two that are not equal, by name: the first's and the other's."""
    names = sorted(field.name for field in fields(one))
    pairs = {name: (getattr(one, name), getattr(other, name, None)) for name in names}
    return {name: (own, its) for name, (own, its) in pairs.items() if own != its}
