"""A checkpoint file to a plain state dict: which tensors, under which names, in float32."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor

from hat_deploy.hat.filekind import EXPECTED, Format, checkpoint_format

WRAPPERS = ("params_ema", "params", "state_dict")
"""Where training tools put the weights, the preferred one first."""

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


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint, without running anything it may contain.

    Takes ``params_ema``, then ``params``, then ``state_dict``, then the file's own top level.
    Prefixes that training tools add (``module.``, ``net_g.``, ``_orig_mod.`` and the like) are
    removed.

    Returns:
        Tensors on the CPU by name; floating ones are float32 and finite.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or holds more than
            tensors; the message says what was found.
        MissingExtraError: a ``.safetensors`` file, and safetensors is not installed.
    """
    path = Path(path)
    reader = _read_torch if checkpoint_format(path) is Format.TORCH else _read_safetensors
    tensors = _select(reader(path), path)
    tensors = strip_prefix(tensors)
    return {name: _widen(name, tensor, path) for name, tensor in tensors.items()}


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
    """The first few names and how many more there are."""
    names = list(names)
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


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
        return safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (safetensors.SafetensorError, *_DAMAGED) as error:
        raise CheckpointError(
            f"{path} is a truncated or damaged safetensors file ({error}); fetch it again"
        ) from error


def _select(loaded: object, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, out of the wrapper they lie in."""
    if not isinstance(loaded, Mapping):
        kind = type(loaded).__name__
        raise CheckpointError(f"{path} holds one {kind}; expected tensors by name")
    places = [loaded.get(name) for name in WRAPPERS]
    nested = [value for value in loaded.values() if _tensors(value)]
    for place in (*places, loaded, *(nested if len(nested) == 1 else ())):
        if tensors := _tensors(place):
            return tensors
    inside = listing(str(name) for name in loaded) or "nothing"
    raise CheckpointError(f"{path} holds no weights (found: {inside}); {EXPECTED}")


def _tensors(place: object) -> dict[str, Tensor]:
    if not isinstance(place, Mapping):
        return {}
    return {
        name: value.detach()
        for name, value in place.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _widen(name: str, tensor: Tensor, path: Path) -> Tensor:
    """float32 for any floating type; anything that is no plain array of numbers is refused."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        raise CheckpointError(f"{path}: {name} is not a plain tensor; expected dense values")
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(
            f"{path}: {name} holds NaN or infinity; these weights are the result of a training "
            "that diverged or of a damaged file"
        )
    return tensor
