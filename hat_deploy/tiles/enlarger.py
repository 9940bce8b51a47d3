"""Arrays enlarged with one model, whatever the user named: what files and folders build on."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hat_deploy import artifact, engines
from hat_deploy.artifact import zoo
from hat_deploy.engines.base import Array, Engine, scale_of
from hat_deploy.errors import (
    HatDeployError,
    MissingExtraError,
    PictureError,
    UsageError,
)
from hat_deploy.export import on_demand
from hat_deploy.export.recipe import OnStage
from hat_deploy.geometry import check_tile, default_halo
from hat_deploy.images import bleed
from hat_deploy.networks.unstored import Unstored
from hat_deploy.tiles import tiling
from hat_deploy.tiles.enlargement import Allocate, Enlargement, require_picture
from hat_deploy.tiles.streaming import One, stream

OnTiles = Callable[[int, int], None]
"""Called after each batch: tiles done, tiles in all."""


class Enlarger:
    """Opens what the user named and enlarges arrays with it.

    Arguments, errors and use: :class:`hat_deploy.Upscaler`.
    """

    engine: Engine
    """What computes 8-bit pictures, and 16-bit ones where it takes floats."""
    halo: int
    """The border of a tile that is dropped."""
    model: Mapping[str, str | None]
    """What it upscales with, for people: ``name``, ``file`` and that file's ``sha256``. The last
    two are None for an engine that was handed in."""
    settings: Mapping[str, Any]
    """What decides how a picture comes out, as JSON types; journals keep it."""

    def __init__(
        self,
        model: str | Path | Engine = zoo.DEFAULT,
        *,
        tile: tuple[int, int] | None = None,
        halo: int | None = None,
        batch: int = 1,
        device: str = "cpu",
        backend: str | None = None,
        compute: str | None = None,
        threads: int | None = None,
        streams: int = 1,
        conv_scale: float | None = None,
        img_range: float | None = None,
        qk_scale: float | None = None,
        shift: bool | None = None,
        on_stage: OnStage = lambda stage: None,
        on_warning: OnStage = warnings.warn,
    ) -> None:
        unstored = Unstored(
            conv_scale=conv_scale, img_range=img_range, qk_scale=qk_scale, shift=shift
        )
        self._deep: Engine | HatDeployError | None = None
        self._open_deep: Callable[[], Engine] | None = None
        if not isinstance(model, (str, Path)):
            asked = {
                "tile": tile is not None,
                "batch": batch != 1,
                "device": device != "cpu",
                "backend": backend is not None,
                "compute": compute is not None,
                "threads": threads is not None,
                "streams": streams != 1,
            } | dict.fromkeys(unstored.given, True)
            if ignored := [name for name, given in asked.items() if given]:
                it = "it" if len(ignored) == 1 else "them"
                raise UsageError(f"an engine has its own {', '.join(ignored)}: leave {it} out")
            self.engine = model
            self.model = {"name": model.name, "file": None, "sha256": None}
            halo = default_halo(model.input.size, model.window) if halo is None else halo
            check_tile(model.input.size, halo, model.window)
            self.halo = halo
            self.settings = self._settings(_engine_identity(model), "", None)
            return

        def make(io: str) -> Path:
            return on_demand.artifact_for(
                model,
                tile=tile,
                batch=batch,
                io=io,
                device=device,
                unstored=unstored,
                on_stage=on_stage,
                on_warning=on_warning,
            )

        def load(path: Path) -> Engine:
            return engines.open_artifact(
                path,
                device=device,
                threads=threads,
                backend=backend,
                compute=compute,
                streams=streams,
            )

        path = _with_bytes(make) if device == "cuda" else make("float")
        described = artifact.describe(path)
        self.halo = described.halo if halo is None else halo
        check_tile(described.tile, self.halo, described.window)
        given = path == Path(model)
        if given and batch not in (1, described.batch):
            raise UsageError(
                f"{model} was built for {described.batch} tiles in one call, not {batch}: export "
                "it again with --batch, or leave batch out"
            )
        self.engine = load(path)
        self.model = _named(model, path, described, given=given)
        identity = _loaded(path, self.engine) if given else _identity(described)
        self.settings = self._settings(
            identity,
            described.checkpoint_sha256,
            compute if compute != described.precision else None,
        )
        if described.io == "uint8" and not given:
            self._open_deep = lambda: load(make("float"))

    def _settings(self, identity: str, checkpoint: str, compute: str | None) -> Mapping[str, Any]:
        return {
            "model": identity,
            "checkpoint": checkpoint,
            "tile": list(self.engine.input.size),
            "halo": self.halo,
            "compute": compute,
        }

    @property
    def scale(self) -> int:
        """The upscaling factor."""
        return scale_of(self.engine)

    def tiles(self, height: int, width: int) -> int:
        """Tiles the engine computes for one colour picture of this size."""
        return len(tiling.plan(self.engine, (height, width), self.halo).tiles)

    def engine_for(self, dtype: tiling.DType) -> Engine:
        """The engine for pictures of a sample type, opened when first asked for.

        Raises:
            PictureError: there is none for 16 bits, and the reason.
        """
        if dtype != np.uint16 or self._open_deep is None:
            return self.engine
        if self._deep is None:
            try:
                self._deep = self._open_deep()
            except HatDeployError as error:
                self._deep = error
        if isinstance(self._deep, HatDeployError):
            raise PictureError(f"nothing here runs 16-bit pictures: {self._deep}")
        return self._deep

    def enlargement(
        self, pixels: Array, *, allocate: Allocate = np.empty, consume: bool = False
    ) -> Enlargement:
        """What :func:`hat_deploy.tiles.streaming.stream` takes; for arguments see :meth:`upscale`.

        With ``consume`` the colours of transparent pixels are changed in the argument itself.
        """
        require_picture(pixels)
        engine = self.engine_for(pixels.dtype)
        return Enlargement(bleed(pixels, consume=consume), engine, self.halo, allocate=allocate)

    def upscale(self, pixels: Array, *, progress: OnTiles | None = None) -> Array:
        """Upscale one picture.

        Gray pictures go through a colour network as three equal channels, colour pictures
        through a gray network channel by channel. Alpha is upscaled as a gray picture of its
        own, unless it is the same everywhere; where it is 0, the colour of the nearest visible
        pixel takes the place of what lies there.

        Args:
            pixels: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16; 1x1 and up.
            progress: called after each batch with the tiles done and the tiles in all.

        Returns:
            The same kind of array, ``scale`` times as high and wide.

        Raises:
            ValueError: another shape or dtype.
            PictureError: the picture has 16 bits, the engine takes bytes.
            CheckFailed: the engine returned values that are not finite.
            ArtifactError: the engine failed.
        """
        picture = self.enlargement(pixels)
        for _ in stream(One(picture)):
            if picture.error is not None:
                raise picture.error
            if progress is not None:
                progress(picture.done, picture.total)
        return picture.result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.__exit__(kind, error, trace)
        if self._deep is not None and not isinstance(self._deep, HatDeployError):
            self._deep.__exit__(kind, error, trace)


def _named(
    model: str | Path, path: Path, described: artifact.Description, *, given: bool
) -> dict[str, str | None]:
    """The model by its name and by the file that was named: an artifact, or weights."""
    if given:
        return {"name": described.model, "file": str(path), "sha256": artifact.sha256(path)}
    file = Path(model) if Path(model).exists() else zoo.find(str(model)).checkpoint
    digest = described.checkpoint_sha256
    return {"name": described.model, "file": str(file), "sha256": digest}


def _with_bytes(make: Callable[[str], Path]) -> Path:
    """An artifact that takes bytes; where none can be made, the ready one that takes floats."""
    try:
        return make("uint8")
    except MissingExtraError:
        return make("float")


_NO_MATTER = ("model", "versions", "io", "batch", "targets", "halo", "format")
"""What may differ between artifacts of one model without another picture coming out."""


def _loaded(path: Path, engine: Engine) -> str:
    """SHA-256 of the artifact that was named, of the bytes that were loaded where that is known."""
    return getattr(engine, "sha256", None) or artifact.sha256(path)


def _identity(described: artifact.Description) -> str:
    """What a journal knows an artifact by that was made from a checkpoint.

    Not its own hash but that of what makes its pictures: it stays when the cache is emptied or
    a library is upgraded.
    """
    values = {k: v for k, v in asdict(described).items() if k not in _NO_MATTER}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _engine_identity(engine: Engine) -> str:
    """Of an engine that was handed in: its own word."""
    text = f"{engine.name} {engine.input} {engine.output}"
    described = getattr(engine, "description", None)
    if isinstance(described, artifact.Description):
        text += described.to_json()
    return hashlib.sha256(text.encode()).hexdigest()
