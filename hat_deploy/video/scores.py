"""PSNR, SSIM and flicker of an upscaled clip against its original, frame by frame.

As for images: on Y of BT.601, results rounded to 8 bits, ``scale`` pixels left out along each edge,
low-resolution frames by antialiased bicubic; see :mod:`hat_deploy.evaluate`.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hat_deploy.engines.base import Array
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.evaluate import Evaluation, NotScored, OnScored, Score, Scored
from hat_deploy.files import replacing
from hat_deploy.geometry import tile_size
from hat_deploy.images.resize import bicubic, round_to_uint8
from hat_deploy.metrics import SSIM_WINDOW, luma, psnr_y, ssim_y
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.video.colour import rgb_of
from hat_deploy.video.source import Source

SHOWN = 8
"""Frames that a page shows, at most one more."""


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """One frame's figures, or a mean of them."""

    frame: int
    """Its number, from 0; of a mean, how many there are."""
    psnr: float
    """In dB; ``inf`` for equal frames."""
    ssim: float
    bicubic_psnr: float
    bicubic_ssim: float
    change: float
    """Mean absolute difference of Y from the frame before, 0 to 219; 0 for the first frame."""
    original_change: float
    """The same of the original: a result that changes more flickers."""
    seconds: float
    """What the model took."""


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """What a clip says about a model."""

    engine: str
    scale: int
    frames: tuple[FrameScore, ...]
    damages: tuple[str, ...]
    """What could not be read, by its time."""

    @property
    def mean(self) -> FrameScore:
        """The plain mean over frames; of changes, over all but the first."""
        count = len(self.frames)

        def mean(name: str, over: int = count) -> float:
            return math.fsum(getattr(frame, name) for frame in self.frames) / max(1, over)

        return FrameScore(
            frame=count,
            psnr=mean("psnr"),
            ssim=mean("ssim"),
            bicubic_psnr=mean("bicubic_psnr"),
            bicubic_ssim=mean("bicubic_ssim"),
            change=mean("change", count - 1),
            original_change=mean("original_change", count - 1),
            seconds=mean("seconds"),
        )

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types; an infinite PSNR is null."""
        return {
            "engine": self.engine,
            "scale": self.scale,
            "mean": _finite(self.mean),
            "frames": [_finite(frame) for frame in self.frames],
            "damaged": list(self.damages),
        }


def score_clip(
    upscaler: Enlarger,
    hr: Path,
    lr: Path | None = None,
    *,
    whole: bool = True,
    on_frame: Callable[[int], None] = lambda number: None,
    on_scored: OnScored = lambda scored: None,
) -> ClipScores:
    """Score a model on a clip.

    Args:
        hr: the original, of 8 bits; its frames are cropped at the right and bottom to a multiple
            of the scale.
        lr: a clip of the low-resolution frames; None makes them by antialiased bicubic.
        whole: compute frames at once where that is possible, not in tiles.
        on_frame: told the number of each frame.
        on_scored: shown some frames, about :data:`SHOWN`, evenly spread.

    Raises:
        PictureError: a clip cannot be read, is too small, has more than 8 bits or transparency, or
            the two do not fit each other.
        CheckFailed, ArtifactError: as :meth:`hat_deploy.Upscaler.upscale`.
    """
    scores: list[FrameScore] = []
    before: tuple[Array, Array] | None = None
    with ExitStack() as stack:
        original = stack.enter_context(Source(hr, deinterlace=False))
        small = None if lr is None else stack.enter_context(Source(lr, deinterlace=False))
        apart = -(-(original.facts.expected or SHOWN) // SHOWN)
        for number, (high, low) in enumerate(_pairs(original, small, upscaler.scale)):
            on_frame(number)
            started = time.perf_counter()
            result = upscaler.upscale(low, whole=whole)
            seconds = time.perf_counter() - started
            plain = round_to_uint8(bicubic(low, *high.shape[:2]))
            score, before = _scored(number, high, result, plain, before, upscaler.scale, seconds)
            scores.append(score)
            if number % apart == 0:
                on_scored(
                    Scored(
                        score=_as_image(hr, score),
                        scale=upscaler.scale,
                        whole=whole,
                        original=high,
                        result=result,
                        plain=plain,
                    )
                )
        damages = original.damages + ([] if small is None else small.damages)
        return ClipScores(
            engine=upscaler.engine.name,
            scale=upscaler.scale,
            frames=tuple(scores),
            damages=tuple(map(str, damages)),
        )


def as_evaluation(
    scores: ClipScores, clip: Path, lr: Path | None, upscaler: Enlarger
) -> Evaluation:
    """The frames as images, for a page that shows images."""
    return Evaluation(
        engine=scores.engine,
        model=upscaler.model,
        scale=scores.scale,
        border=scores.scale,
        lr="antialiased bicubic" if lr is None else str(lr),
        tiling=f"tiles of {tile_size(upscaler.engine.input.size)}, halo {upscaler.halo}",
        tiled=(),
        scores=tuple(_as_image(clip, score) for score in scores.frames),
        not_scored=tuple(NotScored(path=clip, reason=damage) for damage in scores.damages),
    )


def write_csv(scores: ClipScores, target: Path) -> None:
    """One line a frame and the mean last.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        with replacing(target) as partial, partial.open("w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text)
            writer.writerow([field.name for field in fields(FrameScore)])
            writer.writerows(map(astuple, scores.frames))
            writer.writerow(["mean", *astuple(scores.mean)[1:]])
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from error


def _as_image(clip: Path, score: FrameScore) -> Score:
    return Score(
        name=f"{clip.name}, frame {score.frame}",
        psnr=score.psnr,
        ssim=score.ssim,
        bicubic_psnr=score.bicubic_psnr,
        bicubic_ssim=score.bicubic_ssim,
        seconds=score.seconds,
    )


def _scored(
    number: int,
    high: Array,
    result: Array,
    plain: Array,
    before: tuple[Array, Array] | None,
    scale: int,
    seconds: float,
) -> tuple[FrameScore, tuple[Array, Array]]:
    inside = (slice(scale, -scale), slice(scale, -scale))
    now = luma(result)[inside], luma(high)[inside]
    changes = [0.0, 0.0]
    if before is not None:
        changes = [float(np.abs(a - b).mean()) for a, b in zip(now, before, strict=True)]
    score = FrameScore(
        frame=number,
        psnr=psnr_y(high, result, border=scale),
        ssim=ssim_y(high, result, border=scale),
        bicubic_psnr=psnr_y(high, plain, border=scale),
        bicubic_ssim=ssim_y(high, plain, border=scale),
        change=changes[0],
        original_change=changes[1],
        seconds=seconds,
    )
    return score, now


def _pairs(original: Source, small: Source | None, scale: int) -> Iterator[tuple[Array, Array]]:
    """Each original frame, cropped, with its low-resolution one."""
    facts = original.facts
    height, width = facts.height // scale, facts.width // scale
    if (min(height, width) - 2) * scale < SSIM_WINDOW:
        raise PictureError(f"it is {facts.width}x{facts.height}, which is too small to be scored")
    if small is None:
        for pixels in _pixels(original):
            high = pixels[: height * scale, : width * scale]
            yield high, round_to_uint8(bicubic(high, height, width))
        return
    if (small.facts.height, small.facts.width) != (height, width):
        raise PictureError(
            f"it is {facts.width}x{facts.height}, and its low-resolution clip "
            f"{small.facts.width}x{small.facts.height}: not {scale} times smaller"
        )
    lows = _pixels(small)
    for number, pixels in enumerate(_pixels(original)):
        low = next(lows, None)
        if low is None:
            raise PictureError(
                f"its low-resolution clip ends after {number} frames, and it does not"
            )
        yield pixels[: height * scale, : width * scale], low
    if next(lows, None) is not None:
        raise PictureError("its low-resolution clip has more frames than it has")


def _pixels(source: Source) -> Iterator[Array]:
    facts = source.facts
    if facts.layout.bits > 8 or facts.layout.alpha:
        raise PictureError(
            f"its frames are {facts.layout.name}, and the scores are defined for 8 bits without "
            "transparency"
        )
    for frame in source.frames():
        yield rgb_of(frame.planes, facts.layout, facts.colour)


def _finite(score: FrameScore) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(score).items()
    }
