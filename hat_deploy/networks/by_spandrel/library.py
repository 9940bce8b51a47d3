"""Spandrel itself: from weights to one of its networks. Only this module imports it."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor, nn
    from torch.overrides import TorchFunctionMode

from hat_deploy.networks.weights import shortened

_DECLARED: list[torch.library.Library] = []
"""What :func:`make_torchvision_importable` declared; it lasts as long as this list."""
_WITH_NOISE_MAP = frozenset({"DRUNet", "DnCNN"})
"""Architectures that may take a map of the noise besides an image; spandrel makes it for one."""
_OF_ONE_IMAGE = frozenset({"IPT"})
"""Architectures that cut one image into patches and take no second."""
_SORTING = frozenset({"ATD"})
"""Architectures that sort pixels by a category, and so depend on the order of equal ones."""


class Unloadable(CheckpointError):
    """Weights that look like those of a network, and do not fit it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network with its weights, as spandrel hands it over."""

    architecture: str
    model: nn.Module
    call: Callable[[nn.Module, Tensor], Tensor]
    """Runs it on (B, C, H, W) in [0, 1]: some take or give more than an image."""
    scale: int
    channels: int
    minimum: int
    """The least height and width."""
    multiple: int
    """Heights and widths must be multiples of it."""
    square: bool


def find(state_dict: Mapping[str, Tensor]) -> Found | None:
    """The network that the weights are of; None if spandrel knows none.

    Args:
        state_dict: read by :mod:`hat_deploy.networks.weights`: tensors and nothing else.

    Raises:
        Unloadable: spandrel knows it and cannot make it.
        CheckpointError: it is not a network from one image of so many channels to another.
        MissingExtraError: spandrel is not installed.
    """
    with needed_for("Reading a checkpoint of no native network"):
        make_torchvision_importable()
        import spandrel  # type: ignore[import-untyped]

    weights = spandrel.canonicalize_state_dict(dict(state_dict))
    for entry in spandrel.MAIN_REGISTRY.architectures("detection"):
        architecture = entry.architecture
        if _detects(entry, weights):
            return _described(_loaded(architecture, weights), str(architecture.id))
    return None


def make_torchvision_importable() -> None:
    """Spandrel imports torchvision, whose compiled half may not fit the installed torch.

    Its Python half then fails on two operators that are not registered. No network of images
    calls them: declaring them is enough.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
        importlib.import_module("torchvision")


def _detects(entry: Any, weights: dict[str, Tensor]) -> bool:
    try:
        return bool(entry.detect(weights))
    except Exception:  # it looks into tensors of any shape without asking
        return False


def _loaded(architecture: Any, weights: dict[str, Tensor]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return architecture.load(dict(weights))
    except Exception as error:  # whatever code for one network does with the weights of another
        reason = shortened(" ".join(f"{type(error).__name__}: {error}".split()))
        raise Unloadable(
            f"spandrel takes the weights for those of a {architecture.id} and cannot load them "
            f"({reason}): they are incomplete, or of a modified {architecture.id}"
        ) from error


def _described(loaded: Any, name: str) -> Found:
    import spandrel

    if not isinstance(loaded, spandrel.ImageModelDescriptor):
        raise CheckpointError(
            f"the weights are those of a {name}, which takes a mask besides an image: only "
            "networks from one image to another can be run here"
        )
    if loaded.input_channels != loaded.output_channels or loaded.input_channels not in (1, 3):
        raise CheckpointError(
            f"the weights are those of a {name} that takes {loaded.input_channels} channels and "
            f"gives {loaded.output_channels}: only networks from RGB to RGB (3) or from gray to "
            "gray (1) can be run here"
        )
    sizes = loaded.size_requirements
    return Found(
        architecture=name,
        model=loaded.model,
        call=_call_of(loaded, name),
        scale=int(loaded.scale),
        channels=int(loaded.input_channels),
        minimum=sizes.minimum,
        multiple=sizes.multiple_of,
        square=sizes.square,
    )


def _call_of(loaded: Any, name: str) -> Callable[[nn.Module, Tensor], Tensor]:
    # Calling the descriptor itself clamps and cannot be traced.
    call: Callable[[nn.Module, Tensor], Tensor] = loaded._call_fn

    def one_by_one(model: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([call(model, image) for image in x.split(1)])

    def in_order(model: nn.Module, x: Tensor) -> Tensor:
        with _StableSort():
            return call(model, x)

    if name in _SORTING:
        return in_order
    return one_by_one if name in _OF_ONE_IMAGE or _takes_noise(loaded, name) else call


def _takes_noise(loaded: Any, name: str) -> bool:
    """Whether the first layer takes more than the image."""
    if name not in _WITH_NOISE_MAP:
        return False
    taken = next(loaded.model.parameters()).shape[1]
    return bool(taken != loaded.input_channels)


class _StableSort(TorchFunctionMode):
    """Within it, equal values stay in their order, which PyTorch leaves open otherwise."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {"stable": True} if func is torch.sort else kwargs))
