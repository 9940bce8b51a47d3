"""A checkpoint file to a plain state dict: which tensors, under which names, in float32."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.networks.filekind import EXPECTED, Format, checkpoint_format
from hat_deploy.networks.limits import MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_TENSORS

WRAPPERS = ("params_ema", "params", "state_dict")
"""Where training tools put the weights, the preferred one first."""

LONGEST_NAME = 100
"""Characters of a tensor's name that a message shows."""

_ANCHOR = "conv_first.weight"

# What torch's unpickler raises on damaged bytes: it walks them as a program, so nearly any
# operation of it may fail.
_DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The weights of a checkpoint, and how the file holds them."""

    tensors: Mapping[str, Tensor]
    """On the CPU by name; floating ones are float32 and finite."""
    place: str | None
    """Under which name they lay, such as ``params_ema``; None at the file's own top level."""
    dtypes: tuple[str, ...]
    """Floating types of the tensors in the file, the commonest first: ``float16``."""


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of :func:`load_stored`."""
    return dict(load_stored(path).tensors)


def load_stored(path: str | Path) -> Stored:
    """Read the weights of a checkpoint, without running anything it may contain.

    Takes ``params_ema``, then ``params``, then ``state_dict``, then the file's own top level.
    Prefixes that training tools add (``module.``, ``net_g.``, ``_orig_mod.`` and the like) are
    removed.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or holds more than
            tensors; the message says what was found.
        MissingExtraError: a ``.safetensors`` file, and safetensors is not installed.
    """
    path = Path(path)
    kind = checkpoint_format(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise CheckpointError(
            f"{path} has {size / 2**30:,.0f} GiB; a checkpoint has at most "
            f"{MAX_FILE_BYTES // 2**30}"
        )
    reader = _read_torch if kind is Format.TORCH else _read_safetensors
    place, tensors = _select(reader(path), path)
    tensors = strip_prefix(tensors)
    for name, tensor in tensors.items():
        _require_plain(name, tensor, path)
    _require_held(tensors, size, path)
    dtypes = Counter(_dtype_name(x) for x in tensors.values() if x.is_floating_point())
    return Stored(
        tensors={name: _widen(name, tensor, path) for name, tensor in tensors.items()},
        place=place,
        dtypes=tuple(name for name, _ in dtypes.most_common()),
    )


def strip_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove whatever precedes ``conv_first.weight`` from the names that carry it.

    Names without it belong to the wrapper (a discriminator, a step counter) and are left out.
    Where several networks lie side by side, the one whose prefix says ``ema`` is meant;
    without such a hint the names stay as they are.
    """
    prefixes = [name.removesuffix(_ANCHOR) for name in tensors if name.endswith("." + _ANCHOR)]
    averaged = [prefix for prefix in prefixes if "ema" in prefix.lower()]
    for candidates in (prefixes, averaged):
        if len(candidates) == 1 and _ANCHOR not in tensors:
            prefix = candidates[0]
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
    return dict(tensors)


def listing(names: Iterable[str], limit: int = 4) -> str:
    """The first few names, each at a length that can be read, and how many more there are."""
    names = list(names)
    shown = ", ".join(map(shortened, names[:limit]))
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def shortened(name: str) -> str:
    """A name that may be of any length, for a message."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."


def _read_torch(path: Path) -> object:
    try:
        # An open file, because torch cannot open every name that the system can.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded: object = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except _DAMAGED as error:
        raise CheckpointError(_refusal(path, error)) from error
    return loaded


def _refusal(path: Path, error: BaseException) -> str:
    """Why torch did not open a file: a class in it, or damage."""
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and refused:
        return (
            f"{path} holds a pickled {refused[1]}, and unpickling that could run any code, so it "
            "was not opened; expected tensors only, as torch.save(network.state_dict(), path) "
            "writes"
        )
    return (
        f"{path} is a damaged or truncated PyTorch file, or a pickle that torch.save did not "
        "write; fetch it again, or save it as torch.save(network.state_dict(), path) does"
    )


def _read_safetensors(path: Path) -> object:
    with needed_for(f"Reading {path}"):
        import safetensors
        import safetensors.torch
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path} states a header of {header:,} bytes; a safetensors file has at "
                f"most {MAX_HEADER_BYTES:,}: it is damaged"
            )
        return safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (safetensors.SafetensorError, *_DAMAGED) as error:
        raise CheckpointError(
            f"{path} is a truncated or damaged safetensors file ({error}); fetch it again"
        ) from error


def _select(loaded: object, path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """The tensors of a checkpoint and the name of the wrapper they lie in, None without one."""
    if not isinstance(loaded, dict):
        kind = type(loaded).__name__
        raise CheckpointError(f"{path} holds one {kind}; expected tensors by name")
    # A file may give an object attributes that hide its methods.
    places = {name: value for name, value in dict.items(loaded) if isinstance(name, str)}
    nested = [name for name, value in places.items() if _tensors(value)]
    for name in (*WRAPPERS, None, *(nested if len(nested) == 1 else ())):
        if tensors := _tensors(loaded if name is None else places.get(name)):
            return name, tensors
    inside = listing(places) or f"{len(loaded)} things without names" if loaded else "nothing"
    raise CheckpointError(f"{path} holds no weights (found: {inside}); {EXPECTED}")


def _tensors(place: object) -> dict[str, Tensor]:
    if not isinstance(place, dict):
        return {}
    return {
        name: value
        for name, value in dict.items(place)
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _require_plain(name: str, tensor: Tensor, path: Path) -> None:
    """Refuse what is no dense array of numbers, each in a place of its own."""
    plain = (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested)
    )
    if not plain or tensor.device.type != "cpu":
        raise CheckpointError(
            f"{path}: {shortened(name)} is not a plain tensor; expected dense values"
        )


def _require_held(tensors: Mapping[str, Tensor], size: int, path: Path) -> None:
    """Refuse tensors that are larger than their file: expanded, or one memory many times."""
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(
            f"{path} holds {len(tensors):,} tensors; a network has at most {MAX_TENSORS:,}"
        )
    stated = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if stated > size:
        raise CheckpointError(
            f"{path} has {size:,} bytes, and its tensors state {stated:,}: they are expanded, or "
            "share their values; save copies of their own, with clone()"
        )


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _widen(name: str, tensor: Tensor, path: Path) -> Tensor:
    """float32 for any floating type, detached."""
    tensor = tensor.detach()
    if not tensor.is_floating_point():
        return tensor
    try:
        widened = tensor.float()
    except RuntimeError as error:  # types that torch knows and cannot convert
        raise CheckpointError(
            f"{path}: {shortened(name)} is {tensor.dtype}, which cannot be read as float32"
        ) from error
    if not bool(torch.isfinite(widened).all()):
        raise CheckpointError(
            f"{path}: {shortened(name)} holds NaN or infinity; these weights are the result of a "
            "training that diverged or of a damaged file"
        )
    return widened
