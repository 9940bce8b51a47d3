"""Checkpoint to network and back.

``load_network`` is the way in: it reads the file (:mod:`hat_deploy.networks.weights`), finds the
architecture that the weights are of, reads the shape off them and fills a network strictly.
"""

from __future__ import annotations

import io
import json
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hat_deploy.errors import (
    CheckpointError,
    MissingExtraError,
    UsageError,
    about_its_file,
    needed_for,
)

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.files import replacing
from hat_deploy.networks import foreign, srcnn
from hat_deploy.networks.architecture import Architecture
from hat_deploy.networks.by_spandrel import network as by_spandrel
from hat_deploy.networks.by_spandrel.library import Unloadable
from hat_deploy.networks.by_spandrel.shape import SpandrelShape
from hat_deploy.networks.edsr.architecture import ARCHITECTURE as EDSR
from hat_deploy.networks.hat.architecture import ARCHITECTURE as HAT
from hat_deploy.networks.network import Network
from hat_deploy.networks.shape import Shape
from hat_deploy.networks.swinir.architecture import ARCHITECTURE as SWINIR
from hat_deploy.networks.unstored import CONFIG_NAME, UNSTORED, Unstored, is_finite_number
from hat_deploy.networks.weights import Stored, listing, load_state_dict, load_stored

__all__ = [
    "build",
    "detect_config",
    "inspect",
    "load_network",
    "load_state_dict",
    "save_checkpoint",
]

_MAX_JSON = 2**20
"""Characters of a ``config.json`` that are read; ours have 500."""

ARCHITECTURES: tuple[Architecture[Any, Any], ...] = (HAT, SWINIR, EDSR)
"""All that are known."""

_TORCH_SUFFIXES = (".pth", ".pt", ".ckpt")


@about_its_file
def load_network(
    path: str | Path,
    *,
    conv_scale: float | None = None,
    img_range: float | None = None,
    qk_scale: float | None = None,
    shift: bool | None = None,
    config: Shape | None = None,
) -> Network:
    """A network with the weights of ``path``, in float32 on the CPU, frozen for inference.

    Args:
        path: ``.pth``, ``.safetensors`` or the like; judged by its content.
        conv_scale, img_range, qk_scale, shift: what a checkpoint does not store; see
            :class:`hat_deploy.networks.unstored.Unstored`. Where left out: those of ``config``,
            else of a ``config.json`` beside the file, else the published values.
        config: the network's shape, where it should not be read off the weights.

    Raises:
        CheckpointError: the file cannot be read, is of no known network, or does not fit
            ``config``.
    """
    path = Path(path)
    state_dict = load_state_dict(path)
    given = Unstored(
        conv_scale=conv_scale, img_range=img_range, qk_scale=qk_scale, shift=shift
    ).given
    try:
        if isinstance(config, SpandrelShape) or (config is None and not _claimants(state_dict)):
            return _by_spandrel(state_dict, given)
        shape = _complete(path, state_dict, config, given)
        if _parameters(shape) > sum(tensor.numel() for tensor in state_dict.values()):
            _check_tensors(_outline(shape), state_dict)  # says what is not there
        network = build(shape)
        _check_tensors(network, state_dict)
        network.load_state_dict({name: state_dict[name] for name in network.state_dict()})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return network.freeze()


def build(shape: Shape) -> Network:
    """A network of a shape, with random weights.

    Raises:
        CheckpointError: it comes by spandrel, which builds networks from weights alone.
    """
    if isinstance(shape, SpandrelShape):
        raise CheckpointError(
            f"a {shape.architecture} comes by spandrel, which builds it from weights alone: give "
            "its checkpoint"
        )
    network: Network = _architecture(shape).build(shape)
    return network


def detect_config(state_dict: Mapping[str, Tensor], **given: Any) -> Shape:
    """Read a network's shape off its weights.

    Args:
        given: values that change the result and are not stored.

    Raises:
        CheckpointError: the weights are of no known network, or of more than one.
    """
    claimants = _claimants(state_dict)
    if not claimants:
        return _by_spandrel(state_dict, given).config
    if len(claimants) > 1:
        both = " and ".join(known.named for known in claimants)
        raise CheckpointError(
            f"the weights are those of {both} alike: save them again with the training code that "
            "they come from, without the other's buffers"
        )
    return _replaced(claimants[0].detect(state_dict), given)


@about_its_file
def inspect(path: str | Path) -> tuple[Shape, Stored]:
    """The config of a checkpoint and how the file holds its weights; no network is built.

    Every tensor is read and checked as :func:`load_network` does.

    Raises:
        CheckpointError: as :func:`load_network`.
    """
    path = Path(path)
    stored = load_stored(path)
    try:
        if not _claimants(stored.tensors):
            return _by_spandrel(stored.tensors, {}).config, stored
        config = _complete(path, stored.tensors, None, {})
        _check_tensors(_outline(config), stored.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return config, stored


def save_checkpoint(network: Network, path: str | Path) -> None:
    """Write a network as the authors do, for any tool that reads their files.

    ``.safetensors`` holds the bare weights; ``.pth``, ``.pt`` and ``.ckpt`` hold them under
    ``params_ema``. Both carry the buffers that other implementations look for. The same
    weights give the same bytes; the file appears whole or not at all.

    Raises:
        UsageError: another suffix.
        MissingExtraError: safetensors is needed and not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        content = _safetensors_bytes(_stored(network))
    elif suffix in _TORCH_SUFFIXES:
        buffer = io.BytesIO()
        torch.save({"params_ema": _stored(network)}, buffer)
        content = buffer.getvalue()
    else:
        known = ", ".join((*_TORCH_SUFFIXES, ".safetensors"))
        raise UsageError(f"a checkpoint's name ends in one of {known}, not in {path.name!r}")
    with replacing(path) as partial:
        partial.write_bytes(content)


def _complete(
    path: Path,
    state_dict: Mapping[str, Tensor],
    config: Shape | None,
    given: dict[str, Any],
) -> Shape:
    """The config in force: the one asked for, or the weights' with what lies beside them."""
    if config is None:
        config = detect_config(state_dict)
        if len(given) < len(UNSTORED):
            given = _stored_beside(path, config, given) | given
    return _replaced(config, given)


def _claimants(state_dict: Mapping[str, Tensor]) -> list[Architecture[Any, Any]]:
    """The native networks that the weights are of: they go before the same by spandrel."""
    return [known for known in ARCHITECTURES if known.claims(state_dict)]


def _by_spandrel(state_dict: Mapping[str, Tensor], given: Mapping[str, Any]) -> Network:
    """The network by spandrel; where it knows none, or is not there, the refusal says what the
    weights look like."""
    srcnn.refuse(state_dict)
    try:
        network = by_spandrel.load(state_dict)
    except (MissingExtraError, Unloadable) as error:
        raise CheckpointError(f"{_unknown(state_dict)}; {error}") from error
    if network is None:
        raise CheckpointError(f"{_unknown(state_dict)}; spandrel does not know it either")
    _replaced(network.config, given)
    return network


def _unknown(state_dict: Mapping[str, Tensor]) -> str:
    """Why the weights are of no native network, for people."""
    nearest = max(ARCHITECTURES, key=lambda known: _share(known.looked_for, state_dict))
    names = [known.named for known in ARCHITECTURES]
    return foreign.explain(state_dict.keys(), nearest.looked_for, names)


def _architecture(shape: Shape) -> Architecture[Any, Any]:
    return next(known for known in ARCHITECTURES if known.name == shape.architecture)


def _share(looked_for: tuple[str, ...], names: Collection[str]) -> float:
    """The share of names that are there."""
    return sum(name in names for name in looked_for) / len(looked_for)


def _replaced(shape: Shape, given: Mapping[str, Any]) -> Shape:
    """The shape with other values; those of all networks are given by the same names."""
    try:
        return shape.told(**given)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _stored_beside(path: Path, config: Shape, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``config.json`` in the same folder adds to what was given; it must be about these
    weights."""
    beside = path.parent / CONFIG_NAME
    values = _read_json(beside)
    stored = {name: values[name] for name in UNSTORED if name in values and name not in given}
    if not stored:
        return {}
    detected = config.to_dict()
    differing = [
        f"{name} {reprlib.repr(values[name])} (the weights have {detected[name]})"
        for name in sorted(detected.keys() & values.keys() - set(UNSTORED))
        if values[name] != detected[name]
    ]
    if differing:
        raise CheckpointError(
            f"{beside} is about other weights: it says {listing(differing, 3)}; keep the two "
            f"in folders of their own, or give {', '.join(stored)}"
        )
    for name, value in stored.items():
        if name == "shift":
            if not isinstance(value, bool):
                raise CheckpointError(
                    f"{beside} has shift {reprlib.repr(value)}; expected true or false"
                )
        elif not (name == "qk_scale" and value is None) and not is_finite_number(value):
            raise CheckpointError(f"{beside} has {name} {reprlib.repr(value)}; expected a number")
    return stored


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_JSON + 1)
        if len(text) > _MAX_JSON:
            raise ValueError(f"it is longer than {_MAX_JSON:,} characters")
        values = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} beside it cannot be read as JSON: {error}") from error
    return values if isinstance(values, dict) else {}


def _parameters(shape: Shape) -> int:
    return shape.cost(shape.window, shape.window).parameters


def _outline(shape: Shape) -> Network:
    """The network without memory for its weights: names and shapes."""
    with torch.device("meta"):
        return build(shape)


def _check_tensors(network: Network, state_dict: Mapping[str, Tensor]) -> None:
    """Compare strictly: every tensor of the network, and none besides."""
    shape, expected = network.config, network.state_dict()
    kind, is_derived = shape.architecture, _architecture(shape).is_derived
    found = {name: x for name, x in state_dict.items() if not is_derived(name, x, shape)}
    if missing := [name for name in expected if name not in found]:
        raise CheckpointError(
            f"the weights lack {len(missing)} of the {len(expected)} tensors of this {kind}: "
            f"{listing(missing)}"
        )
    if unexpected := [name for name in found if name not in expected]:
        raise CheckpointError(
            f"the weights have {len(unexpected)} tensors that this {kind} has no place for: "
            f"{listing(unexpected)}"
        )
    for name, tensor in expected.items():
        _check_fits(name, found[name], tensor, kind)


def _check_fits(name: str, found: Tensor, expected: Tensor, kind: str) -> None:
    if found.shape != expected.shape:
        raise CheckpointError(
            f"{name} has shape {tuple(found.shape)}; this {kind} has {tuple(expected.shape)} there"
        )
    if not found.is_floating_point():
        raise CheckpointError(f"{name} is {found.dtype}; expected floating point weights")


def _stored(network: Network) -> dict[str, Tensor]:
    return _architecture(network.config).stored(network)


def _safetensors_bytes(state_dict: dict[str, Tensor]) -> bytes:
    with needed_for("Writing .safetensors"):
        import safetensors.torch
    content: bytes = safetensors.torch.save(state_dict, metadata={"format": "pt"})
    return content
