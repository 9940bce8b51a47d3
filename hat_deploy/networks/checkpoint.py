"""Checkpoint to network and back.

``load_network`` is the way in: it reads the file (:mod:`hat_deploy.networks.weights`), reads the
shape off the weights (:mod:`hat_deploy.networks.hat.detection`) and fills a :class:`HAT` strictly.
"""

from __future__ import annotations

import io
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hat_deploy.errors import CheckpointError, UsageError, about_its_file, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.files import replacing
from hat_deploy.networks.hat import windows
from hat_deploy.networks.hat.config import HATConfig, is_finite_number
from hat_deploy.networks.hat.cost import cost
from hat_deploy.networks.hat.detection import detect_config, require_hat
from hat_deploy.networks.hat.network import HAT, mean_of
from hat_deploy.networks.shape import Shape
from hat_deploy.networks.unstored import CONFIG_NAME, UNSTORED, Unstored
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

_DERIVED = re.compile(r"(^|\.)(relative_position_index(_SA|_OCA)?|attn_mask|n_averaged)$")
"""Buffers that follow from the config, or count training steps."""

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
) -> HAT:
    """A HAT with the weights of ``path``, in float32 on the CPU, frozen for inference.

    Args:
        path: ``.pth``, ``.safetensors`` or the like; judged by its content.
        conv_scale, img_range, qk_scale, shift: what a checkpoint does not store; see
            :class:`HATConfig`. Where left out: those of ``config``, else of a ``config.json``
            beside the file, else the published values.
        config: the network's shape, where it should not be read off the weights.

    Raises:
        CheckpointError: the file cannot be read, is no HAT, or does not fit ``config``.
    """
    path = Path(path)
    state_dict = load_state_dict(path)
    given = Unstored(
        conv_scale=conv_scale, img_range=img_range, qk_scale=qk_scale, shift=shift
    ).given
    try:
        config = _complete(path, state_dict, config, given)
        if _parameters(config) > sum(tensor.numel() for tensor in state_dict.values()):
            _check_tensors(_outline(config), state_dict)  # says what is not there
        network = HAT(config)
        _check_tensors(network, state_dict)
        network.load_state_dict({name: state_dict[name] for name in network.state_dict()})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return network.freeze()


def build(shape: Shape) -> HAT:
    """A network of a shape, with random weights."""
    return HAT(_known(shape))


@about_its_file
def inspect(path: str | Path) -> tuple[HATConfig, Stored]:
    """The config of a checkpoint and how the file holds its weights; no network is built.

    Every tensor is read and checked as :func:`load_network` does.

    Raises:
        CheckpointError: as :func:`load_network`.
    """
    path = Path(path)
    stored = load_stored(path)
    try:
        config = _complete(path, stored.tensors, None, {})
        _check_tensors(_outline(config), stored.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return config, stored


def save_checkpoint(network: HAT, path: str | Path) -> None:
    """Write a network as the authors do, for any tool that reads their files.

    ``.safetensors`` holds the bare weights; ``.pth``, ``.pt`` and ``.ckpt`` hold them under
    ``params_ema``. Both carry the index buffers that other implementations look for. The same
    weights give the same bytes; the file appears whole or not at all.

    Raises:
        UsageError: another suffix.
        MissingExtraError: safetensors is needed and not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        content = _safetensors_bytes(_authors_layout(network))
    elif suffix in _TORCH_SUFFIXES:
        buffer = io.BytesIO()
        torch.save({"params_ema": _authors_layout(network)}, buffer)
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
) -> HATConfig:
    """The config in force: the one asked for, or the weights' with what lies beside them."""
    require_hat(state_dict)
    if config is None:
        config = detect_config(state_dict)
        if len(given) < len(UNSTORED):
            given = _stored_beside(path, config, given) | given
    return _replaced(_known(config), given)


def _known(shape: Shape) -> HATConfig:
    """The shape of the one network there is."""
    if not isinstance(shape, HATConfig):
        raise TypeError(f"{type(shape).__name__} is the shape of no known network")
    return shape


def _replaced(config: HATConfig, given: dict[str, Any]) -> HATConfig:
    try:
        return replace(config, **given)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _stored_beside(path: Path, config: HATConfig, given: Mapping[str, Any]) -> dict[str, Any]:
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


def _parameters(config: HATConfig) -> int:
    return cost(config, config.window_size, config.window_size).parameters


def _outline(config: HATConfig) -> HAT:
    """The network without memory for its weights: names and shapes."""
    with torch.device("meta"):
        return HAT(config)


def _check_tensors(network: HAT, state_dict: Mapping[str, Tensor]) -> None:
    """Compare strictly: every tensor of the network, and none besides."""
    config, expected = network.config, network.state_dict()
    found = {name: x for name, x in state_dict.items() if not _is_derived(name, x, config)}
    if missing := [name for name in expected if name not in found]:
        raise CheckpointError(
            f"the weights lack {len(missing)} of the {len(expected)} tensors of this HAT: "
            f"{listing(missing)}"
        )
    if unexpected := [name for name in found if name not in expected]:
        raise CheckpointError(
            f"the weights have {len(unexpected)} tensors that this HAT has no place for: "
            f"{listing(unexpected)}"
        )
    for name, tensor in expected.items():
        _check_fits(name, found[name], tensor)


def _is_derived(name: str, tensor: Tensor, config: HATConfig) -> bool:
    """Whether a tensor is one that the config implies; a mean must then be the known one."""
    if name == "mean":
        mean = torch.tensor(mean_of(config))
        same = tensor.is_floating_point() and tensor.numel() == mean.numel()
        return same and torch.allclose(tensor.flatten(), mean)
    return _DERIVED.search(name) is not None


def _check_fits(name: str, found: Tensor, expected: Tensor) -> None:
    if found.shape != expected.shape:
        raise CheckpointError(
            f"{name} has shape {tuple(found.shape)}; this HAT has {tuple(expected.shape)} there"
        )
    if not found.is_floating_point():
        raise CheckpointError(f"{name} is {found.dtype}; expected floating point weights")


def _authors_layout(network: HAT) -> dict[str, Tensor]:
    """The weights on the CPU, with the index buffers of the authors' implementation."""
    config = network.config
    state_dict = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    state_dict["relative_position_index_SA"] = windows.relative_position_index(config.window_size)
    if config.overlap_size:
        state_dict["relative_position_index_OCA"] = windows.overlapping_position_offset(
            config.window_size, config.overlap_size
        )
    return state_dict


def _safetensors_bytes(state_dict: dict[str, Tensor]) -> bytes:
    with needed_for("Writing .safetensors"):
        import safetensors.torch
    content: bytes = safetensors.torch.save(state_dict, metadata={"format": "pt"})
    return content
