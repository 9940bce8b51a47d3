"""Run the network itself with PyTorch: the reference every artifact is checked against."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.engines.averages import PortsEngine
from hat_deploy.engines.base import (
    AVERAGES_IN,
    AVERAGES_OUT,
    Arrays,
    Ports,
    TensorSpec,
    averages_shapes,
)
from hat_deploy.errors import UsageError, needed_for
from hat_deploy.precision import Precision

if TYPE_CHECKING:
    from hat_deploy.networks.network import Network

with needed_for("The PyTorch reference"):
    import torch


class TorchEngine(PortsEngine):
    """An engine around a :class:`~hat_deploy.networks.network.Network`.

    The batch and the result are float32 whatever the precision inside. The network is moved
    and converted in place.

    Args:
        network: with weights loaded.
        tile: height and width, multiples of the window.
        batch: tiles in one call.
        precision: ``fp32`` (the reference), ``fp16`` or ``bf16``: every weight and activation.
        device: ``cpu`` or ``cuda``.
        exact: whether it takes averages.

    Raises:
        UsageError: the device is absent, or the network takes no averages.
    """

    def __init__(
        self,
        network: Network,
        *,
        tile: tuple[int, int],
        batch: int = 1,
        precision: str = Precision.FP32,
        device: str = "cpu",
        exact: bool = False,
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError("this PyTorch sees no CUDA device")
        config = network.config
        height, width = tile
        self._dtype: torch.dtype = getattr(torch, Precision.of(precision).dtype)
        self._network = network.freeze().to(device, self._dtype)
        self._precision = precision
        self._device = device
        self._on_gpu = device != "cpu"
        shape = (batch, config.channels, height, width)
        scaled = (batch, config.channels, height * config.scale, width * config.scale)
        self._window = config.window
        inputs = [TensorSpec("input", shape, "float32", "NCHW")]
        outputs = [TensorSpec("output", scaled, "float32", "NCHW")]
        if exact:
            shapes = averages_shapes(require_averages(network), batch, tile)
            for specs, names in ((inputs, AVERAGES_IN), (outputs, AVERAGES_OUT)):
                specs += [TensorSpec(name, shapes[name], "float32", "averages") for name in names]
        self._ports = Ports(tuple(inputs), tuple(outputs))

    @property
    def name(self) -> str:
        """Library, version, device and precision."""
        return f"torch {torch.__version__}, {self._device}, {self._precision}"

    def _stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        return map(self._compute, batches)

    def _compute(self, batch: Arrays) -> Arrays:
        with torch.inference_mode():
            x, *averages = (torch.from_numpy(array).to(self._device) for array in batch)
            x = x.to(self._dtype)
            results = self._network.with_averages(x, *averages) if averages else [self._network(x)]
            return tuple(np.ascontiguousarray(y.float().cpu().numpy()) for y in results)

    def at(self, size: tuple[int, int], *, many: bool = False) -> TorchEngine | None:
        """The same for tiles of another size, where it takes no averages."""
        if self.averages is not None:
            return None
        other = copy.copy(self)
        other._ports = self._ports.at(size)
        return other

    def close(self) -> None:
        """Let go of what was loaded."""
        del self._network


def require_averages(network: Network) -> tuple[int, int]:
    """How many averages a network takes, and of how many channels each.

    Raises:
        UsageError: it takes none.
    """
    if network.averages is None:
        raise UsageError(
            "this network has no channel attention, so its tiles need nothing of the rest of the "
            "image but the halo: leave --exact out"
        )
    return network.averages
