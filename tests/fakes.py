"""An engine that copies pixels, for everything above the seam."""

from __future__ import annotations

import numpy as np

from hat_deploy.engines.base import Array, EngineBase, TensorSpec, check_batch


class IdentityEngine(EngineBase):
    """Repeats every pixel ``scale`` times; its values are exact."""

    name = "identity"

    def __init__(
        self,
        tile: tuple[int, int] = (16, 16),
        *,
        scale: int = 2,
        batch: int = 1,
        window: int = 4,
        channels: int = 3,
        layout: str = "NCHW",
    ) -> None:
        def spec(name: str, height: int, width: int) -> TensorSpec:
            if layout == "NCHW":
                return TensorSpec(name, (batch, channels, height, width), "float32", layout)
            return TensorSpec(name, (batch, height, width, channels), "uint8", layout)

        self._input = spec("input", *tile)
        self._output = spec("output", tile[0] * scale, tile[1] * scale)
        self._window = window
        self.scale = scale
        self.calls = 0

    def run(self, batch: Array) -> Array:
        check_batch(self.input, batch)
        self.calls += 1
        first = 2 if self.input.layout == "NCHW" else 1
        return batch.repeat(self.scale, axis=first).repeat(self.scale, axis=first + 1)


class NaNEngine(IdentityEngine):
    """What an overflowing half-precision network looks like."""

    def run(self, batch: Array) -> Array:
        return np.full_like(super().run(batch), np.nan)
