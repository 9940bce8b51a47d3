"""One clip from its file to its result: what is decided before, computed, and put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self

from hat_deploy.geometry import image_size
from hat_deploy.images import Colour as Background
from hat_deploy.machine import available_memory
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.tiles.target_size import Steps, TargetSize, steps_to
from hat_deploy.video import muxing
from hat_deploy.video.computing import Computation, OnPosition, Sink, Tally, require_permitted
from hat_deploy.video.encoding import Recipe, recipe_for
from hat_deploy.video.options import VideoOptions
from hat_deploy.video.parts import Parts, Store
from hat_deploy.video.source import Source


class Options(Protocol):
    """The part of :class:`hat_deploy.folders.Options` that concerns clips."""

    @property
    def memory(self) -> int | None:
        """Bytes held at once."""

    @property
    def max_pixels(self) -> int:
        """Most of a frame."""

    @property
    def size(self) -> TargetSize | None:
        """Of the result."""

    @property
    def linear_light(self) -> bool:
        """Whether light is averaged."""

    @property
    def background(self) -> Background | None:
        """What lies behind transparent pixels."""

    @property
    def video(self) -> VideoOptions:
        """How clips are written."""


class Clip:
    """A clip that is open and found fit to be upscaled; nothing is computed yet.

    Args:
        path: of its file.
        suffix: of the result, which decides its container.

    Raises:
        PictureError: it cannot be read, or the result cannot hold it.
        UsageError: options do not fit the codec or the container.
    """

    def __init__(self, path: Path, suffix: str, upscaler: Enlarger, options: Options) -> None:
        self._path = path
        self._upscaler = upscaler
        self._options = options
        self._notes: list[str] = []
        self.source = Source(path, deinterlace=options.video.deinterlace)
        try:
            self._decide(suffix)
        except BaseException:
            self.source.close()
            raise

    def _decide(self, suffix: str) -> None:
        facts, options = self.source.facts, self._options
        require_permitted(self.source, options.max_pixels)
        steps = steps_to(options.size, (facts.height, facts.width), self._upscaler.scale)
        steps.check()
        self.recipe = recipe_for(
            facts,
            steps.final,
            suffix,
            options.video,
            global_header=muxing.wants_global_header(suffix),
            opaque=options.background is not None,
            rounded=options.size is not None,
        )
        found = self.recipe.height, self.recipe.width
        if found != steps.final:
            self._notes.append(
                f"its result has {image_size(*found)} pixels, for {self.recipe.pixel_format} "
                "needs even sides"
            )
        self.steps = replace(steps, final=found)
        copied = muxing.choose(self.source.container, facts.stream, self.recipe, suffix)
        self._copied = copied.streams
        self._notes += copied.notes
        if facts.hdr and not self.recipe.carries_hdr:
            self._notes.append(f"{self.recipe.codec} does not hold its HDR10 metadata")

    def compute(self, store: Store, *, on_position: OnPosition = lambda position: None) -> Tally:
        """Compute and encode every part that the store does not have.

        Raises:
            PictureError, CheckFailed, ArtifactError, OSError: see :meth:`Computation.run`.
        """
        sink = Parts(self.recipe, store)
        tally = compute(
            self.source, self._upscaler, self.recipe, self.steps, sink, self._options, on_position
        )
        self._notes += notes_on(tally)
        return tally

    def assemble(self, files: Sequence[Path], target: Path) -> tuple[str, ...]:
        """Write the result from its parts; returns notes on what it does not hold.

        Raises:
            PictureError, OSError: it cannot be written.
        """
        return muxing.assemble(
            target, self._path, files, self.recipe, self.source.facts, self._copied
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user is to know."""
        return tuple(self._notes)

    @property
    def damages(self) -> tuple[str, ...]:
        """What could not be read as it was, by its time."""
        return tuple(map(str, self.source.damages))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()


def compute(
    source: Source,
    upscaler: Enlarger,
    recipe: Recipe,
    steps: Steps,
    sink: Sink,
    options: Options,
    on_position: OnPosition = lambda position: None,
) -> Tally:
    """Compute the frames that a sink does not have.

    Raises:
        PictureError, CheckFailed, ArtifactError, OSError: see :meth:`Computation.run`.
    """
    computation = Computation(
        source=source,
        upscaler=upscaler,
        recipe=recipe,
        steps=steps,
        sink=sink,
        memory=options.memory or available_memory() // 4,
        reuse=options.video.reuse,
        linear_light=options.linear_light,
        background=options.background,
        on_position=on_position,
    )
    return computation.run()


def notes_on(tally: Tally) -> list[str]:
    """What the user is to know of how frames were computed."""
    notes = []
    if tally.reused:
        notes.append(
            f"{tally.reused} of {tally.frames} frames are as the one before: computed once"
        )
    if tally.again:
        notes.append(
            f"{tally.again} of {tally.tiles} tiles were not finite in half precision and were "
            "computed again in fp32"
        )
    return notes
