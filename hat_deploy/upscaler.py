"""Whole pictures of any kind, upscaled by an engine: the Python API."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hat_deploy import artifact, engines, prepare, tiling, zoo
from hat_deploy.engines.base import Array, Engine, scale_of
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.geometry import check_tile, default_halo

LUMA = np.array([0.299, 0.587, 0.114])
"""BT.601 weights: how three equal-valued channels become gray again."""


class Upscaler:
    """Upscales pictures with one model.

        with Upscaler("hat.onnx") as upscaler:
            large = upscaler.upscale(small)

    Args:
        model: an artifact (``.onnx``), a checkpoint (``.pth``, ``.safetensors``), the name of
            a model that ships, or an engine. A checkpoint is exported once into the user's
            cache, which takes the ``export`` extra.
        tile: height and width of a tile, halo included; only where a checkpoint or a name is
            given, an artifact has its own. Default: 256x256.
        halo: border of a tile that is dropped; by default what the artifact carries.
        device: ``cpu`` or ``cuda``.
        on_stage: told what is being done while a checkpoint is exported.

    Raises:
        HatDeployError: no such model, or it cannot be loaded here; see the subclasses.
    """

    def __init__(
        self,
        model: str | Path | Engine = zoo.DEFAULT,
        *,
        tile: tuple[int, int] | None = None,
        halo: int | None = None,
        device: str = "cpu",
        on_stage: prepare.OnStage = lambda stage: None,
    ) -> None:
        if isinstance(model, (str, Path)):
            path = prepare.artifact_for(model, tile=tile, on_stage=on_stage)
            described = artifact.describe(path)
            halo = described.halo if halo is None else halo
            check_tile(described.tile, halo, described.window)
            self.engine: Engine = engines.open_artifact(path, device=device)
        elif tile is not None:
            raise UsageError("an engine has its own tile: leave tile out")
        else:
            self.engine = model
            halo = default_halo(model.input.size, model.window) if halo is None else halo
            check_tile(model.input.size, halo, model.window)
        self.halo = halo

    @property
    def scale(self) -> int:
        """The upscaling factor."""
        return scale_of(self.engine)

    def tiles(self, height: int, width: int) -> int:
        """Tiles the engine computes for one colour picture of this size."""
        return len(tiling.plan(self.engine, (height, width), self.halo).tiles)

    def upscale(self, pixels: Array, *, on_batch: tiling.OnBatch | None = None) -> Array:
        """Upscale one picture.

        Gray pictures go through a colour network as three equal channels, colour pictures
        through a gray network channel by channel. Alpha is upscaled as a gray picture of its
        own, unless it is the same everywhere.

        Args:
            pixels: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16; 1x1 and up.
            on_batch: called with the number of tiles each batch finished.

        Returns:
            The same kind of array, ``scale`` times as high and wide.

        Raises:
            ValueError: another shape or dtype.
            PictureError: the picture has 16 bits, the engine takes bytes.
            CheckFailed: the engine returned values that are not finite.
        """
        if pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels are {pixels.dtype}; uint8 or uint16 was expected")
        if pixels.dtype == np.uint16 and self.engine.input.dtype == "uint8":
            raise PictureError(
                "a picture of 16 bits needs an artifact with float input and output; "
                "this one takes bytes: export it with --io float"
            )
        if pixels.ndim == 2:
            return self._gray(pixels, on_batch)
        if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
            raise ValueError(f"pixels are {pixels.shape}; (H, W), (H, W, 3) or (H, W, 4) expected")
        colour = self._colour(pixels[..., :3], on_batch)
        if pixels.shape[2] == 3:
            return colour
        return np.dstack([colour, self._alpha(pixels[..., 3], on_batch)])

    def _colour(self, pixels: Array, on_batch: tiling.OnBatch | None) -> Array:
        if self.engine.input.channels == 3:
            return tiling.upscale(pixels, self.engine, halo=self.halo, on_batch=on_batch)
        return np.dstack([self._gray(pixels[..., i], on_batch) for i in range(3)])

    def _gray(self, pixels: Array, on_batch: tiling.OnBatch | None) -> Array:
        channels = self.engine.input.channels
        stacked = np.repeat(pixels[..., None], channels, axis=2)
        result = tiling.upscale(stacked, self.engine, halo=self.halo, on_batch=on_batch)
        if channels == 1:
            return result[..., 0]
        gray = np.empty(result.shape[:2], result.dtype)
        for row in range(len(gray)):  # row by row: a float copy of the picture is large
            gray[row] = np.rint(result[row] @ LUMA)
        return gray

    def _alpha(self, alpha: Array, on_batch: tiling.OnBatch | None) -> Array:
        if (alpha == alpha[0, 0]).all():
            shape = (alpha.shape[0] * self.scale, alpha.shape[1] * self.scale)
            return np.full(shape, alpha[0, 0])
        return self._gray(alpha, on_batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.__exit__(kind, error, trace)
