"""PSNR and SSIM of upscaled images against their originals, as papers report them.

On the Y channel of BT.601, results rounded to 8 bits, ``scale`` pixels left out along each
edge, low-resolution images by antialiased bicubic; see :mod:`hat_deploy.metrics` and
:mod:`hat_deploy.images.resize`. A gray file is read as three equal channels, as papers' code
does: Y of a gray g is 16 + g * 219 / 255, which scores 1.3 dB more than g itself would.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hat_deploy import images
from hat_deploy.artifact import Description
from hat_deploy.engines.base import Array
from hat_deploy.errors import CheckFailed, PictureError, UsageError
from hat_deploy.files import replacing
from hat_deploy.geometry import padded_size, round_up, tile_size
from hat_deploy.images.picture import SUFFIXES
from hat_deploy.images.resize import bicubic, round_to_uint8
from hat_deploy.metrics import SSIM_WINDOW, psnr_y, ssim_y
from hat_deploy.networks import shape_of
from hat_deploy.terminal.printable import display_name, whole_characters
from hat_deploy.tiles.enlarger import Enlarger

OnPicture = Callable[[str], None]
"""Called with the name of each image before it is scored."""
OnScored = Callable[["Scored"], None]
"""Shown each image that was scored."""
OnAllScored = Callable[[Sequence["Scored"]], None]
"""Shown what each model made of an image that all of them were scored on."""
_Figures = tuple["Score", bool]
"""A score, and whether the image was computed at once."""
_COUNTED_SIDE = 64
"""Side of the input that multi-adds are counted for, rounded up to the window."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One image's figures, or a mean of them."""

    name: str
    psnr: float
    """In dB; ``inf`` for equal images."""
    ssim: float
    bicubic_psnr: float
    """The PSNR of bicubic interpolation from the same low-resolution image."""
    bicubic_ssim: float
    seconds: float
    """What the model took for the image; for the first it may include what it starts with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """An image with what was compared, for those who look at it; (H, W, 3) uint8 RGB."""

    score: Score
    scale: int
    whole: bool
    """Whether the model saw the low-resolution image at once, as papers do: no tiles, and no
    padding up to one."""
    original: Array
    """Cropped to a multiple of the scale."""
    result: Array
    """By the model."""
    plain: Array
    """By bicubic."""


@dataclass(frozen=True, kw_only=True)
class NotScored:
    """An image that could not be scored."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a set of images says about a model."""

    engine: str
    model: Mapping[str, str | None]
    """What was scored: ``name``, ``file`` and the file's ``sha256``."""
    scale: int
    border: int
    """Pixels left out along each edge."""
    lr: str
    """Where the low-resolution images are from."""
    tiling: str
    """The size of a tile and its halo, for people."""
    tiled: tuple[str, ...]
    """The names of images that were computed in tiles, or padded up to one."""
    scores: tuple[Score, ...]
    not_scored: tuple[NotScored, ...]
    parameters: int | None = None
    """The network's; None of an engine that says nothing about it."""
    multi_adds: int | None = None
    """Of the network for a million pixels of a low-resolution image, without halos."""

    @property
    def mean(self) -> Score | None:
        """The plain mean over images, as papers give it; None if none was scored."""
        if not self.scores:
            return None
        names = [field.name for field in fields(Score) if field.name != "name"]
        means = {
            name: math.fsum(getattr(score, name) for score in self.scores) / len(self.scores)
            for name in names
        }
        return Score(name="mean", **means)

    @property
    def computed(self) -> str:
        """Whether images were computed whole or in tiles, for people."""
        if not self.tiled:
            return "whole images"
        if len(self.tiled) == len(self.scores):
            return f"images in {self.tiling}"
        return f"whole images, but {len(self.tiled)} of {len(self.scores)} in {self.tiling}"

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types; an infinite PSNR is null."""
        return {
            "engine": self.engine,
            "model": dict(self.model),
            "scale": self.scale,
            "border": self.border,
            "lr": self.lr,
            "tiling": self.tiling,
            "tiled": list(self.tiled),
            "parameters": self.parameters,
            "multi_adds_per_megapixel": self.multi_adds,
            "mean": _finite(self.mean) if self.mean else None,
            "scores": [_finite(score) for score in self.scores],
            "not_scored": [
                {"path": str(missed.path), "reason": missed.reason} for missed in self.not_scored
            ],
        }


def evaluate(
    upscaler: Enlarger,
    hr: Path,
    lr: Path | None = None,
    *,
    whole: bool = True,
    on_picture: OnPicture = lambda name: None,
    on_scored: OnScored = lambda scored: None,
) -> Evaluation:
    """Score a model on the images of a folder: :func:`evaluate_all` with one model."""
    (found,) = evaluate_all(
        [upscaler],
        hr,
        lr,
        whole=whole,
        on_picture=on_picture,
        on_scored=lambda scored: on_scored(scored[0]),
    )
    return found


def evaluate_all(
    upscalers: Sequence[Enlarger],
    hr: Path,
    lr: Path | None = None,
    *,
    whole: bool = True,
    on_picture: OnPicture = lambda name: None,
    on_scored: OnAllScored = lambda scored: None,
) -> tuple[Evaluation, ...]:
    """Score models on the same images of a folder, one image after the other.

    Args:
        upscalers: the models, of one scale.
        hr: folder of originals; each is cropped at its right and bottom to a multiple of the
            scale. Subfolders are not entered.
        lr: folder of low-resolution images, named as the originals or with ``x4``, ``-x4``
            or ``_x4`` (for a scale of 4) after the name; suffixes may differ. None: they are
            made by antialiased bicubic.
        whole: compute each image at once, as papers do, where the artifact runs at any size and
            the memory suffices; else in tiles.
        on_picture: told the name of each image.
        on_scored: shown each image that was scored.

    Returns:
        For each model the scores by name, and what could not be scored, the same for all: not
        decodable, 16 bits, alpha, too small, without a low-resolution image of the right size, or
        not computed by one of the models.

    Raises:
        UsageError: there is no such folder, it holds no images, or the scales differ.
    """
    _require_one_scale(upscalers)
    originals = _pictures(hr)
    small = None if lr is None else _by_stem(_pictures(lr))
    figures: list[list[_Figures]] = []
    not_scored = []
    for path in originals:
        on_picture(path.name)
        try:
            original, low = _pair(path, small, upscalers[0].scale)
            found = [_score(one, path.name, original, low, whole=whole) for one in upscalers]
            figures.append([(each.score, each.whole) for each in found])
            on_scored(found)
        except (PictureError, CheckFailed) as error:
            not_scored.append(NotScored(path=path, reason=str(error)))
        except MemoryError:
            reason = "not enough memory for an image of this size"
            not_scored.append(NotScored(path=path, reason=reason))
    return tuple(
        _evaluation(upscaler, [each[number] for each in figures], not_scored, lr)
        for number, upscaler in enumerate(upscalers)
    )


def labels(models: Sequence[Mapping[str, str | None]]) -> list[str]:
    """What to call each model beside the others: its name, with its file or a number where
    several have the same."""
    names = [display_name(model["name"] or "") for model in models]
    files = [Path(model["file"] or "").name for model in models]
    told = [
        f"{name} ({display_name(file)})" if names.count(name) > 1 and file else name
        for name, file in zip(names, files, strict=True)
    ]
    return [
        f"{each} #{told[:number].count(each) + 1}" if told.count(each) > 1 else each
        for number, each in enumerate(told)
    ]


def write_csv(evaluations: Sequence[Evaluation], target: Path) -> None:
    """One line an image and the mean last, model after model; what could not be scored is left
    out.

    Each line ends with the model's name and the SHA-256 of its file, so that tables can be put
    together. A name that is not UTF-8 is written as people see it.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        with replacing(target) as partial, partial.open("w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text)
            writer.writerow([*(field.name for field in fields(Score)), "model", "sha256"])
            for evaluation in evaluations:
                model = (evaluation.model["name"], evaluation.model["sha256"])
                for score in (*evaluation.scores, evaluation.mean):
                    if score is not None:
                        name, *figures = astuple(score)
                        cells = (display_name(name), *figures, *model)
                        writer.writerow(map(whole_characters, map(str, cells)))
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from error


def _require_one_scale(upscalers: Sequence[Enlarger]) -> None:
    scales = {f"{each.model['name']} x{each.scale}": each.scale for each in upscalers}
    if len(set(scales.values())) > 1:
        raise UsageError(
            f"the models enlarge by different factors ({', '.join(map(display_name, scales))}), "
            "and no low-resolution image serves them all: give models of one scale"
        )


def _evaluation(
    upscaler: Enlarger, scored: Sequence[_Figures], not_scored: Sequence[NotScored], lr: Path | None
) -> Evaluation:
    parameters, multi_adds = _cost(upscaler)
    return Evaluation(
        engine=upscaler.engine.name,
        model=upscaler.model,
        scale=upscaler.scale,
        border=upscaler.scale,
        lr="antialiased bicubic" if lr is None else str(lr),
        tiling=f"tiles of {tile_size(upscaler.engine.input.size)}, halo {upscaler.halo}",
        tiled=tuple(score.name for score, whole in scored if not whole),
        scores=tuple(score for score, _ in scored),
        not_scored=tuple(not_scored),
        parameters=parameters,
        multi_adds=multi_adds,
    )


def _cost(upscaler: Enlarger) -> tuple[int | None, int | None]:
    """Parameters, and multi-adds for a million pixels; None where the engine does not say."""
    described = getattr(upscaler.engine, "description", None)
    if not isinstance(described, Description):
        return None, None
    side = round_up(_COUNTED_SIDE, described.window)
    counted = shape_of(described.config).cost(side, side)
    return counted.parameters, counted.per_megapixel


def _pair(
    path: Path, small: Mapping[str, Sequence[Path]] | None, scale: int
) -> tuple[Array, Array]:
    """An original, cropped to a multiple of the scale, and its low-resolution image."""
    original = _decode(path)
    if small is None:
        height, width = (length // scale for length in original.shape[:2])
        _require_size(original, height, width, scale)
        original = original[: height * scale, : width * scale]
        return original, round_to_uint8(bicubic(original, height, width))
    low = _decode_low(_match(path, small, scale))
    return _cropped_like(original, low, scale), low


def _score(upscaler: Enlarger, name: str, original: Array, low: Array, *, whole: bool) -> Scored:
    scale = upscaler.scale
    started = time.perf_counter()
    result = upscaler.upscale(low, whole=whole)
    seconds = time.perf_counter() - started
    plain = round_to_uint8(bicubic(low, *original.shape[:2]))
    score = Score(
        name=name,
        psnr=psnr_y(original, result, border=scale),
        ssim=ssim_y(original, result, border=scale),
        bicubic_psnr=psnr_y(original, plain, border=scale),
        bicubic_ssim=ssim_y(original, plain, border=scale),
        seconds=seconds,
    )
    return Scored(
        score=score,
        scale=scale,
        whole=_computed_at_once(upscaler, low, whole=whole),
        original=original,
        result=result,
        plain=plain,
    )


def _computed_at_once(upscaler: Enlarger, low: Array, *, whole: bool) -> bool:
    height, width = low.shape[:2]
    engine = upscaler.engine_for(low.dtype, (height, width), whole=whole)
    return engine.input.size == padded_size((height, width), engine.window)


def _decode(path: Path) -> Array:
    """(H, W, 3) uint8 RGB; a gray file three times the same channel."""
    pixels = images.decode(path).pixels
    if pixels.dtype != np.uint8:
        raise PictureError("it has 16 bits a channel, and the scores are defined for 8")
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        raise PictureError("it has an alpha channel, for which the scores are not defined")
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _decode_low(path: Path) -> Array:
    try:
        return _decode(path)
    except PictureError as error:
        raise PictureError(f"its low-resolution image {path.name}: {error}") from error


def _cropped_like(original: Array, low: Array, scale: int) -> Array:
    """The original without the rows and columns that its low-resolution image lacks."""
    height, width = low.shape[:2]
    if (height, width) != tuple(length // scale for length in original.shape[:2]):
        raise PictureError(
            f"it is {original.shape[1]}x{original.shape[0]}, and its low-resolution image "
            f"{width}x{height}: not {scale} times smaller"
        )
    _require_size(original, height, width, scale)
    return original[: height * scale, : width * scale]


def _require_size(original: Array, height: int, width: int, scale: int) -> None:
    """Refuse what leaves no room for a window of SSIM."""
    if (min(height, width) - 2) * scale < SSIM_WINDOW:
        raise PictureError(
            f"it is {original.shape[1]}x{original.shape[0]}, which is too small: without a "
            f"border of {scale} at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels must be left"
        )


def _match(path: Path, small: Mapping[str, Sequence[Path]], scale: int) -> Path:
    names = [path.stem + ending for ending in ("", f"x{scale}", f"-x{scale}", f"_x{scale}")]
    found = [match for name in names for match in small.get(name, ())]
    if not found:
        raise PictureError(f"no low-resolution image has its name, {names[0]} or {names[1]}")
    if len(found) > 1:
        both = f"{found[0].name} and {found[1].name}"
        raise PictureError(f"several low-resolution images have its name: {both}")
    return found[0]


def _pictures(folder: Path) -> list[Path]:
    """What is named like an image in a folder, sorted."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give a folder of images")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise UsageError(f"no images found in {folder} (subfolders are not entered)")
    return found


def _by_stem(paths: Sequence[Path]) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    for path in paths:
        stems.setdefault(path.stem, []).append(path)
    return stems


def _finite(score: Score) -> dict[str, Any]:
    """The figures as strict JSON has them."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(score).items()
    }
