"""Enlarges arrays with the model that the user named; files and folders build on it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hat_deploy import engines
from hat_deploy.artifact import Artifact, Description, zoo
from hat_deploy.artifact.resolve import Checkpoint, resolve
from hat_deploy.engines import averages as engine_averages
from hat_deploy.engines.base import Array, Engine, pays, scale_of, sized
from hat_deploy.engines.cuda import visible
from hat_deploy.engines.several import count_of, one_of
from hat_deploy.errors import (
    CheckFailed,
    HatDeployError,
    MissingExtraError,
    PictureError,
    UsageError,
)
from hat_deploy.export import on_demand
from hat_deploy.geometry import (
    check_tile,
    default_halo,
    fitted,
    padded_size,
    tile_count,
    tile_sides,
    whole_number,
)
from hat_deploy.images import bleed
from hat_deploy.machine import available_memory, total_memory
from hat_deploy.networks import shape_of
from hat_deploy.networks.unstored import Unstored
from hat_deploy.precision import Precision
from hat_deploy.terminal.progress import OnStage
from hat_deploy.tiles import tiling
from hat_deploy.tiles.averages import DEFAULT_PASSES, passes_over
from hat_deploy.tiles.choice import usual_tile
from hat_deploy.tiles.enlargement import Allocate, Enlargement, require_picture
from hat_deploy.tiles.gate import Gate
from hat_deploy.tiles.requests import Background, Request, RequestFeed
from hat_deploy.tiles.streaming import stream
from hat_deploy.tiles.target_size import TargetSize, steps_to

WHOLE_SHARE = 0.6
"""Share of the free memory that an image computed at once may be expected to take."""
AHEAD = 16
"""Batches of each engine that images are taken for at a time: one of them at most is not full."""
OnTiles = Callable[[int, int], None]
"""Called after each batch: tiles done, tiles in all."""


class Enlarger:
    """Opens what the user named and enlarges arrays with it.

    Arguments, errors and use: :class:`hat_deploy.Upscaler`.
    """

    engine: Engine
    """What computes 8-bit images, and 16-bit ones where it takes floats."""
    halo: int
    """The border of a tile that is dropped."""
    passes: int
    """Passes over an image, at most; 1 unless the engine takes averages of the whole."""
    artifact: Artifact | None
    """The file that the engine was opened from; None for an engine that was handed in."""
    model: Mapping[str, str | None]
    """What it upscales with, for people: ``name``, ``file`` and that file's ``sha256``. The last
    two are None for an engine that was handed in."""
    settings: Mapping[str, Any]
    """What decides how an image comes out, as JSON types; journals keep it."""

    def __init__(
        self,
        model: str | Path | Artifact | Checkpoint | Engine = zoo.DEFAULT,
        *,
        tile: int | tuple[int, int] | None = None,
        halo: int | None = None,
        batch: int = 1,
        exact: bool = False,
        passes: int | None = None,
        device: str = "cpu",
        backend: str | None = None,
        compute: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        streams: int = 1,
        conv_scale: float | None = None,
        img_range: float | None = None,
        qk_scale: float | None = None,
        shift: bool | None = None,
        self_test: bool = True,
        retry_wider: bool = True,
        on_stage: OnStage = lambda stage: None,
        on_warning: OnStage = warnings.warn,
    ) -> None:
        engines.check_options(backend=backend, compute=compute, threads=threads, streams=streams)
        sides = None if tile is None else tile_sides(tile)
        whole_number("batch", batch)
        if halo is not None:
            whole_number("halo", halo, least=0)
        devices = visible.settle_all(device)
        kind = devices.kind
        unstored = Unstored(
            conv_scale=conv_scale, img_range=img_range, qk_scale=qk_scale, shift=shift
        )
        self._deep: Later | None = None
        self._wider: Later | None = None
        self._on_warning = on_warning
        self._fitting: dict[tuple[bool, tuple[int, int], bool], Engine] = {}
        self._gate = Gate()
        self._background = Background(self._gate, self._feed)
        if not isinstance(model, (str, Path, Artifact, Checkpoint)):
            if not isinstance(model, Engine):
                raise UsageError(
                    f"the model is {model!r}; a path, the name of a model that ships, or an engine "
                    "was expected"
                )
            asked = {
                "tile": tile is not None,
                "batch": batch != 1,
                "exact": exact,
                "device": devices != visible.Devices("cpu"),
                "backend": backend is not None,
                "compute": compute is not None,
                "precision": precision is not None,
                "threads": threads is not None,
                "streams": streams != 1,
            } | dict.fromkeys(unstored.given, True)
            if ignored := [name for name, given in asked.items() if given]:
                it = "it" if len(ignored) == 1 else "them"
                raise UsageError(f"an engine has its own {', '.join(ignored)}: leave {it} out")
            self.engine = model
            self.artifact = None
            self.model = {"name": model.name, "file": None, "sha256": None}
            takes = engine_averages.exact(model) is not None
            usual = default_halo(model.input.size, model.window, exact=takes)
            self.halo = usual if halo is None else halo
            check_tile(model.input.size, self.halo, model.window)
            self.passes = passes_over(model.name, exact=takes, asked=passes)
            self.settings = self._settings(
                _engine_identity(model), "", None, equal=_any_size(model)
            )
            return

        wanted = on_demand.Wanted(
            tile=sides,
            batch=batch,
            device=kind,
            gpus=devices.count if devices.on_gpu else 1,
            exact=exact,
            precision=precision,
            unstored=unstored,
        )

        def make(
            named: Artifact | Checkpoint, io: str, precision: str | None = precision
        ) -> Artifact:
            return on_demand.artifact_for(
                named,
                replace(wanted, io=io, precision=precision),
                on_stage=on_stage,
                on_warning=on_warning,
            )

        def load(
            found: Artifact, compute: str | None = compute, device: str = devices.text
        ) -> Engine:
            return engines.open_artifact(
                found,
                device=device,
                threads=threads,
                backend=backend,
                compute=compute,
                streams=streams,
                self_test=self_test,
            )

        def load_wider() -> Engine:
            on_warning("a tile was not finite in half precision: it is computed again in fp32")
            if not made or described.precision == Precision.FP32:
                return load(found, Precision.FP32, kind)
            return load(make(replace(named), "float", Precision.FP32), None, kind)

        named = resolve(model)
        made = isinstance(named, Checkpoint)
        if made and precision is not None:
            engines.require_computable(precision, device=kind, backend=backend, compute=compute)
        found = _with_bytes(partial(make, named)) if devices.on_gpu else make(named, "float")
        if tile is None and made and found.description.any_size and not devices.on_gpu:
            library = engines.backend_for(kind, backend, compute)
            shape = shape_of(found.description.config)
            found = replace(found, tile=usual_tile(shape, library, total_memory()))
        described = found.description
        self.halo = described.halo if halo is None else halo
        check_tile(described.tile, self.halo, described.window)
        if not made and batch not in (1, described.batch):
            raise UsageError(
                f"{named.path} was built for {described.batch} tiles in one call, not {batch}: "
                "export it again with --batch, or leave batch out"
            )
        takes = described.averages is not None
        self.passes = passes_over(found.path, exact=takes, asked=passes)
        self.engine = load(found)
        self.artifact = found
        digest = described.checkpoint_sha256 if made else found.sha256
        self.model = {"name": described.model, "file": str(named.path), "sha256": digest}
        self.settings = self._settings(
            _identity(described) if made else found.sha256,
            described.checkpoint_sha256,
            compute if compute != described.precision else None,
            equal=_any_size(self.engine),
        )
        if described.io == "uint8" and made:
            # A copy knows no hash yet: the checkpoint may have changed by then.
            self._deep = Later(lambda: load(make(replace(named), "float")))
        made_in_half = made and described.precision != Precision.FP32
        in_half = made_in_half or compute not in (None, Precision.FP32)
        # A tile of an exact artifact cannot be computed again alone: its averages are wrong too.
        if retry_wider and in_half and described.averages is None:
            self._wider = Later(load_wider)

    def _settings(
        self, identity: str, checkpoint: str, compute: str | None, *, equal: bool
    ) -> Mapping[str, Any]:
        return {
            **({"passes": self.passes} if self.passes > 1 else {}),
            **tiles_setting(equal=equal),
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
        """Tiles the engine computes for one colour image of this size, at most."""
        tiles = len(tiling.grid_for(self.engine, (height, width), self.halo).tiles)
        return tiles if tiles == 1 else tiles * self.passes

    def engine_for(
        self, dtype: tiling.DType, size: tuple[int, int], *, whole: bool = False
    ) -> Engine:
        """The engine for images of a sample type and a size (height, width).

        Where it runs at any size, its tile is no larger than the image; with ``whole`` it is the
        image, if that is likely to fit into memory. It is opened when first asked for.

        Raises:
            PictureError: there is none for 16 bits, and the reason.
        """
        engine = self._engine_of(dtype)
        padded = padded_size(size, engine.window)
        tile = padded if whole and self._fits(engine, padded) else engine.input.size
        needed = fitted(size, tile, self.halo, engine.window)
        tiles = tile_count(size, tile, self.halo)
        place = (engine is self.engine, needed, pays(needed, tiles))
        if place not in self._fitting:
            self._fitting[place] = sized(engine, needed, tiles=tiles)
        return self._fitting[place]

    def _fits(self, engine: Engine, size: tuple[int, int]) -> bool:
        """Whether a process that computes this much at once is likely to fit into memory.

        ONNX Runtime's estimate is the larger one.
        """
        described = _described(engine)
        if described is None or not described.any_size:
            return False
        processes = shape_of(described.config).process_memory(*size, batch=described.batch)
        return max(processes.values()) <= WHOLE_SHARE * available_memory()

    def _engine_of(self, dtype: tiling.DType) -> Engine:
        if dtype != np.uint16 or self._deep is None:
            return self.engine
        try:
            return self._deep.get()
        except HatDeployError as error:
            raise PictureError(f"no engine here runs 16-bit images: {error}") from error

    def enlargement(
        self,
        pixels: Array,
        *,
        allocate: Allocate = np.empty,
        consume: bool = False,
        whole: bool = False,
    ) -> Enlargement:
        """What :func:`hat_deploy.tiles.streaming.stream` takes; for arguments see :meth:`upscale`.

        With ``whole`` it is one tile where :meth:`engine_for` allows that.

        With ``consume`` the colours of transparent pixels are changed in the argument itself.
        """
        self._gate.check()
        require_picture(pixels)
        height, width = pixels.shape[:2]
        engine = self.engine_for(pixels.dtype, (height, width), whole=whole)
        return Enlargement(
            bleed(pixels, consume=consume),
            engine,
            self.halo,
            passes=max(self.passes, DEFAULT_PASSES),
            allocate=allocate,
            wider=None if self._wider is None else self._wider_engine,
        )

    def upscale(
        self,
        pixels: Array,
        *,
        size: TargetSize | None = None,
        linear_light: bool = False,
        progress: OnTiles | None = None,
        whole: bool = False,
    ) -> Array:
        """Upscale one image.

        Gray images go through a colour network as three equal channels, colour images
        through a gray network channel by channel. Alpha is upscaled as a gray image of its
        own, unless it is the same everywhere; where it is 0, the colour of the nearest visible
        pixel takes the place of what lies there.

        Args:
            pixels: (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16; 1x1 and up.
            size: of the result; by default the network's own factor. The network runs as often
                as it takes, and what is larger is shrunk by antialiased bicubic interpolation.
            linear_light: average light, not stored values, where the result is shrunk.
            progress: called after each batch with the tiles done and the tiles in all of this
                pass of the network.
            whole: compute the image at once, not in tiles, if the artifact runs at any size and
                the memory is likely to suffice; ``progress`` is told of one tile then.

        Returns:
            The same kind of array, of that size or ``scale`` times as high and wide.

        Raises:
            UsageError: it is closed, was opened by the process that this one was forked from, or
                is called from a callback of its own.
            TypeError: no array.
            ValueError: another shape or dtype.
            PictureError: the image has 16 bits, the engine takes bytes; or the network does not
                enlarge, and ``size`` is larger than the image.
            CheckFailed: the engine returned values that are not finite.
            ArtifactError: the engine failed.
        """
        request = self._request(pixels, size, linear_light=linear_light, whole=whole)
        with self._gate.alone():
            self._answer([request], progress)
        return request.answer.result()

    def upscale_many(
        self,
        images: Iterable[Array],
        *,
        size: TargetSize | None = None,
        linear_light: bool = False,
    ) -> Iterator[Array]:
        """Upscale images of any sizes, tiles of several in one batch.

        Args:
            images: arrays as :meth:`upscale` takes them; a generator will do. They are taken a
                few at a time, as many as make :data:`AHEAD` batches.
            size, linear_light: as for :meth:`upscale`.

        Yields:
            The results, in the order of the images.

        Raises:
            UsageError: it is closed, or called from a callback of its own.
            TypeError, ValueError, PictureError, CheckFailed, ArtifactError: as :meth:`upscale`,
                when it is the image's turn; what comes before it has been yielded.
        """
        self._gate.check()
        if isinstance(images, np.ndarray) and images.ndim != 4:  # else rows would pass for images
            raise TypeError(f"images are an array of shape {images.shape}; a list was expected")
        source = iter(images)
        while requests := self._some(source, size, linear_light=linear_light):
            with self._gate.alone():
                self._answer(requests)
            while requests:
                yield requests.popleft().answer.result()

    async def upscale_async(
        self, pixels: Array, *, size: TargetSize | None = None, linear_light: bool = False
    ) -> Array:
        """Upscale one image without blocking the event loop.

        A thread of its own computes; images that wait at the same time share batches, in the order
        in which they came. A call that is cancelled is dropped after the batch that is at work.

        Args:
            pixels, size, linear_light: as for :meth:`upscale`; the array is not to be changed
                meanwhile.

        Returns:
            As :meth:`upscale`.

        Raises:
            UsageError: it is closed, or was before the image's turn.
            TypeError, ValueError, PictureError, CheckFailed, ArtifactError: as :meth:`upscale`.
        """
        request = self._request(pixels, size, linear_light=linear_light)
        self._background.add(request)
        return await asyncio.wrap_future(request.answer)

    def _request(
        self,
        pixels: Array,
        size: TargetSize | None,
        *,
        linear_light: bool,
        whole: bool = False,
    ) -> Request:
        require_picture(pixels)
        steps = steps_to(size, pixels.shape[:2], self.scale)
        steps.check()
        return Request(pixels, steps, linear_light=linear_light, whole=whole)

    def _some(
        self, source: Iterator[Array], size: TargetSize | None, *, linear_light: bool
    ) -> deque[Request]:
        """The next requests of :meth:`upscale_many`, none at the end; an error is the last."""
        requests: deque[Request] = deque()
        tiles = 0
        try:
            while tiles < AHEAD * self.engine.input.batch * count_of(self.engine):
                pixels = next(source)
                requests.append(self._request(pixels, size, linear_light=linear_light))
                tiles += self.tiles(*pixels.shape[:2])
        except StopIteration:
            pass
        except Exception as error:
            requests.append(Request.refused(error))
        return requests

    def _feed(self, requests: Iterator[Request | None]) -> RequestFeed:
        return RequestFeed(requests, self.enlargement, self._on_warning)

    def _answer(self, requests: Iterable[Request], progress: OnTiles | None = None) -> None:
        """Compute requests in this thread."""
        feed = self._feed(iter(requests))
        with closing(stream(feed)) as batches:
            for pieces in batches:
                feed.settle()
                if progress is not None and pieces and pieces[-1].picture.error is None:
                    progress(pieces[-1].picture.done, pieces[-1].picture.total)

    def _wider_engine(self) -> Engine:
        assert self._wider is not None
        try:
            return self._wider.get()
        except HatDeployError as error:
            reason = f"{tiling.not_finite()}; it could not be computed again in fp32: {error}"
            raise CheckFailed(reason) from error

    def __enter__(self) -> Self:
        self._gate.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what was loaded, the engine that was handed in included.

        A call at work in another thread is waited for; what :meth:`upscale_async` has not begun is
        refused. The second time does nothing.

        Raises:
            UsageError: it is called from a callback of its own.
        """
        self._gate.close(self._let_go)

    def _let_go(self) -> None:
        self._fitting.clear()
        self.engine.__exit__(None, None, None)
        for later in (self._deep, self._wider):
            if later is not None:
                later.close()


class Later:
    """An engine that is opened when it is first asked for; a failure stands, too.

    Args:
        open_: opens it, or raises a :class:`HatDeployError`.
    """

    def __init__(self, open_: Callable[[], Engine]) -> None:
        self._open = open_
        self._found: Engine | HatDeployError | None = None

    def get(self) -> Engine:
        """The engine.

        Raises:
            HatDeployError: it cannot be opened.
        """
        if self._found is None:
            try:
                self._found = self._open()
            except HatDeployError as error:
                self._found = error
        if isinstance(self._found, HatDeployError):
            raise self._found
        return self._found

    def close(self) -> None:
        """Let go of it, if it was opened."""
        if self._found is not None and not isinstance(self._found, HatDeployError):
            self._found.__exit__(None, None, None)


def _with_bytes(make: Callable[[str], Artifact]) -> Artifact:
    """An artifact that takes bytes; where none can be made, the ready one that takes floats."""
    try:
        return make("uint8")
    except MissingExtraError:
        return make("float")


_WITHOUT_EFFECT = (
    "model",
    "versions",
    "io",
    "batch",
    "targets",
    "halo",
    "format",
    "outputs",
    "self_test",
    "origin",
)
"""What may differ between artifacts of one model while their images stay the same."""


def _identity(described: Description) -> str:
    """What a journal knows an artifact by that was made from a checkpoint.

    It is the hash of what decides its images, not of the file: it stays the same when the cache
    is emptied or a library is upgraded.
    """
    unused = (  # earlier releases knew no such things
        ("averages", described.averages is None),
        ("any_size", not described.any_size),
        ("made_for", described.made_for == "any"),
    )
    without = {*_WITHOUT_EFFECT, *(name for name, absent in unused if absent)}
    values = {k: v for k, v in asdict(described).items() if k not in without}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def tiles_setting(*, equal: bool) -> dict[str, Any]:
    """What a journal says of how images are cut, where they are cut into equal tiles.

    Earlier releases cut every image into tiles of one size, and so does an artifact of one size.
    """
    return {"tiles": "equal"} if equal else {}


def _described(engine: Engine) -> Description | None:
    described = getattr(engine, "description", None)
    return described if isinstance(described, Description) else None


def _any_size(engine: Engine) -> bool:
    described = _described(engine)
    return described is not None and described.any_size


def _engine_identity(engine: Engine) -> str:
    """Of an engine that was handed in: what it says of itself."""
    one = one_of(engine)
    text = f"{one.name} {one.input} {one.output}"
    if (described := _described(engine)) is not None:
        text += described.to_json()
    return hashlib.sha256(text.encode()).hexdigest()
