"""Run the network itself with PyTorch: the reference every artifact is checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hat_deploy.engines.base import Array, EngineBase, TensorSpec, check_batch
from hat_deploy.errors import UsageError, needed_for
from hat_deploy.precision import Precision

if TYPE_CHECKING:
    from hat_deploy.networks.network import Network

with needed_for("The PyTorch reference"):
    import torch


class TorchEngine(EngineBase):
    """An engine around a :class:`~hat_deploy.networks.network.Network`.

    The batch and the result are float32 whatever the precision inside. The network is moved
    and converted in place.

    Args:
        network: with weights loaded.
        tile: height and width, multiples of the window.
        batch: tiles in one call.
        precision: ``fp32`` (the reference), ``fp16`` or ``bf16``: every weight and activation.
        device: ``cpu`` or ``cuda``.

    Raises:
        UsageError: the device is absent.
    """

    def __init__(
        self,
        network: Network,
        *,
        tile: tuple[int, int],
        batch: int = 1,
        precision: str = Precision.FP32,
        device: str = "cpu",
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError("this PyTorch sees no CUDA device")
        config = network.config
        height, width = tile
        self._dtype: torch.dtype = getattr(torch, Precision.of(precision).dtype)
        self._network = network.freeze().to(device, self._dtype)
        self._precision = precision
        self._device = device
        shape = (batch, config.channels, height, width)
        scaled = (batch, config.channels, height * config.scale, width * config.scale)
        self._window = config.window
        self._input = TensorSpec("input", shape, "float32", "NCHW")
        self._output = TensorSpec("output", scaled, "float32", "NCHW")

    @property
    def name(self) -> str:
        """Library, version, device and precision."""
        return f"torch {torch.__version__}, {self._device}, {self._precision}"

    def run(self, batch: Array) -> Array:
        """Upscale one batch; see :class:`~hat_deploy.engines.base.Engine`."""
        check_batch(self._input, batch)
        with torch.inference_mode():
            x = torch.from_numpy(batch).to(self._device, self._dtype)
            y = self._network(x).float().cpu().numpy()
        return np.ascontiguousarray(y)

    def close(self) -> None:
        """Let go of what was loaded."""
        del self._network
