"""Counts what a network computes and keeps, without computing it."""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from hat_deploy.errors import CheckpointError, needed_for

with needed_for("Reading a checkpoint"):
    import torch
    from torch import Tensor
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode


def count(name: str, call: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> tuple[int, int]:
    """Multi-adds of convolutions and matrix products, and the most bytes alive at once.

    On fake tensors, which have shapes and no values. A network that looks at values is run.

    Args:
        name: the architecture's, for messages.
        shape: of the input.

    Raises:
        CheckpointError: it does not run, or draws random numbers.
    """
    # It logs a traceback of what is tried in another way here.
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return _count(name, call, shape)
    except CheckpointError:
        raise
    except Exception:  # a network that branches by values meets any error there
        pass
    try:
        return _count(name, call, shape)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"this {name} does not run on an input of shape {shape}: {' '.join(str(error).split())}"
        ) from error


def _count(name: str, call: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> tuple[int, int]:
    with torch.no_grad(), FlopCounterMode(display=False) as flops, _Alive() as alive:
        call(torch.zeros(shape))
    if alive.random:
        raise CheckpointError(
            f"this {name} draws random numbers ({alive.random}) in every pass: no two results are "
            "equal, and none can be proved"
        )
    return flops.get_total_flops() // 2, alive.peak


class _Alive(TorchDispatchMode):
    """Adds up the storages that operators made and that are still held."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.random = ""
        """An operator whose results differ from call to call; empty if there was none."""
        self._held = 0
        self._holders: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # Attention has the tag for its dropout, which no network here uses.
        if torch.Tag.nondeterministic_seeded in func.tags and "attention" not in str(func):
            self.random = str(func)
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return results

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        self._holders[place] += 1
        if self._holders[place] == 1:
            self._held += size
            self.peak = max(self.peak, self._held)
        weakref.finalize(tensor, self._let_go, place, size).atexit = False

    def _let_go(self, place: int, size: int) -> None:
        self._holders[place] -= 1
        if not self._holders[place]:
            del self._holders[place]
            self._held -= size
