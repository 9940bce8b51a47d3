"""Fidelity: what a comparison with the reference found, and how far it may be off.

Three things part a tiled engine from the network run on the whole image, and each has a
:class:`~hat_deploy.metrics.Difference` of its own: what the engine computes otherwise (its
precision, or damage), what cutting into tiles changes, and both together. Only the first
decides, tile by tile and end to end; the second is the same for every engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from hat_deploy.errors import UsageError
from hat_deploy.metrics import Difference
from hat_deploy.precision import Precision

if TYPE_CHECKING:
    from hat_deploy.verify.layer_errors import LayersReport

SPREAD = 32.0
"""Where the user lowers the floor, a value may be off by this many times the RMS error that the
floor allows."""
ROUNDING = 10.0
"""How many times the reference's own rounding error an fp32 artifact may be off.

Engines that multiply and add in fp32 in another order are one to two times off. Ninety dB
alone would let a changed weight pass that moves the output by a thousandth of a grey level.
"""
LEAST_ROUNDING = 1e-7
"""Taken for the reference's rounding error where less was measured: one ulp of a bright value."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the difference from the reference must keep to; make one with :meth:`of`."""

    min_psnr: float
    """In dB, peak 1: of every tile, and of every image end to end."""
    max_abs: float
    """Largest error of a single value."""
    rounding: float | None = None
    """No value may be off by more than this many times the reference's rounding error, if asked."""

    @classmethod
    def of(
        cls, precision: str, *, min_psnr: float | None = None, max_abs: float | None = None
    ) -> Self:
        """The limits of a precision, or what the user asks for instead.

        An fp32 artifact must also keep to ``ROUNDING``, unless the user asks for less than
        the default.

        Args:
            precision: the name of a :class:`~hat_deploy.precision.Precision`.

        Raises:
            UsageError: there is no such precision.
        """
        try:
            default = Precision.of(precision)
        except ValueError as error:
            raise UsageError(str(error)) from error
        floor = default.floor if min_psnr is None else min_psnr
        lowered = floor < default.floor
        largest = SPREAD * _rms(floor) if lowered else default.largest
        as_it_rounds = default is Precision.FP32 and not lowered
        return cls(
            min_psnr=floor,
            max_abs=largest if max_abs is None else max_abs,
            rounding=ROUNDING if as_it_rounds and max_abs is None else None,
        )

    def for_bytes(self) -> Self:
        """The same limits for results that were rounded to 8 bits on both sides.

        An error of e moves a rounded value by one step, 1/255, with probability 255 e; a mean
        squared error of r^2 becomes one of at most r/255, and any value may be a step further
        off than before.
        """
        floor = -10 * math.log10(_rms(self.min_psnr) / 255)
        return replace(
            self,
            min_psnr=min(self.min_psnr, floor),
            max_abs=self.max_abs + 1 / 255,
            rounding=None,
        )

    def largest(self, rounding: float) -> float:
        """How far off a value may be where the reference itself rounds by ``rounding``."""
        if self.rounding is None:
            return self.max_abs
        return min(self.max_abs, self.rounding * max(rounding, LEAST_ROUNDING))

    def broken_by(self, found: Difference, rounding: float) -> str | None:
        """What is wrong with a difference, as a clause; None if nothing is."""
        if found.reference_non_finite:
            return (
                f"the reference itself gave {found.reference_non_finite} values that are not "
                "finite: the checkpoint is damaged, or it was trained with another input range"
            )
        if found.non_finite:
            return f"{found.non_finite} values are not finite"
        if found.psnr < self.min_psnr:
            return f"PSNR is {found.psnr:.1f} dB; at least {self.min_psnr:.1f} dB was expected"
        if found.max_abs > self.largest(rounding):
            return (
                f"a value is off by {found.max_abs:.1e}; at most {self.largest(rounding):.1e} "
                "was expected"
            )
        return None


@dataclass(frozen=True, kw_only=True)
class TileFidelity:
    """One tile as the engine returned it, halo included, against the reference's."""

    row: int
    column: int
    """Where its first pixel lies in the low-resolution image."""
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class PictureFidelity:
    """One image, tile by tile and put together."""

    name: str
    height: int
    width: int
    rounding: Difference
    """The reference in fp32 against itself in fp64, on a piece of the image."""
    tiles: tuple[TileFidelity, ...]
    precision: Difference
    """End to end: the tiled engine against the tiled reference, same tiles, same halo."""
    tiling: Difference | None
    """The tiled reference against the whole image run at once; None where that was not done."""
    total: Difference | None
    """The tiled engine against the whole image run at once by the reference."""
    whole_skipped: str | None
    """Why the whole image was not run."""
    padded_to: tuple[int, int] | None = None
    """Height and width of the artifact's one tile, where the image is smaller on a side."""

    @property
    def all_tiles(self) -> Difference:
        """Over all values of all tiles."""
        return Difference.combine(tile.difference for tile in self.tiles)

    @property
    def worst_tile(self) -> TileFidelity:
        """The one furthest from the reference's."""
        return min(self.tiles, key=_quality)

    def failures(self, limits: Limits) -> Iterator[str]:
        """A sentence for each thing that does not keep to the limits."""
        rounding = self.rounding.largest
        broken = [t for t in self.tiles if limits.broken_by(t.difference, rounding)]
        if broken:
            worst = min(broken, key=_quality)
            reason = limits.broken_by(worst.difference, rounding)
            yield (
                f"{self.name}: {len(broken)} of {len(self.tiles)} tiles; in the one at row "
                f"{worst.row}, column {worst.column}, {reason}"
            )
        if reason := limits.broken_by(self.precision, rounding):
            yield f"{self.name}: end to end, {reason}"

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types."""
        return {
            "name": self.name,
            "height": self.height,
            "width": self.width,
            "rounding": self.rounding.to_dict(),
            "all_tiles": self.all_tiles.to_dict(),
            "tiles": [
                {"row": tile.row, "column": tile.column} | tile.difference.to_dict()
                for tile in self.tiles
            ],
            "precision": self.precision.to_dict(),
            "tiling": self.tiling.to_dict() if self.tiling else None,
            "total": self.total.to_dict() if self.total else None,
            "whole_skipped": self.whole_skipped,
            "padded_to": None if self.padded_to is None else list(self.padded_to),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that ``verify`` found about one artifact."""

    artifact: dict[str, Any]
    """Path, SHA-256, bytes and description."""
    reference: dict[str, Any]
    """The checkpoint: path, SHA-256 and bytes."""
    engine: str
    settings: dict[str, Any]
    hardware: dict[str, Any]
    versions: dict[str, str]
    limits: Limits
    pictures: tuple[PictureFidelity, ...]
    foreign_constants: tuple[str, ...] | None
    """Constants of the artifact that are not among the reference's tensors; None: not looked at."""
    warnings: tuple[str, ...]
    layers: LayersReport | None = None
    """Block by block; None: not asked for."""

    @cached_property
    def failures(self) -> tuple[str, ...]:
        """What does not hold; empty if the artifact is verified."""
        found = [reason for picture in self.pictures for reason in picture.failures(self.limits)]
        if self.foreign_constants:
            names = ", ".join(self.foreign_constants[:3])
            more = len(self.foreign_constants) - 3
            found.append(
                f"{len(self.foreign_constants)} constants of the artifact are not among the "
                f"reference's weights: {names}{f' and {more} more' if more > 0 else ''}"
            )
        return tuple(found)

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON types; infinite PSNR (no difference at all) is null."""
        return {
            "passed": self.passed,
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "artifact": self.artifact,
            "reference": self.reference,
            "engine": self.engine,
            "settings": self.settings,
            "limits": {
                "min_psnr": self.limits.min_psnr,
                "max_abs": self.limits.max_abs,
                "rounding": self.limits.rounding,
            },
            "foreign_constants": (
                None if self.foreign_constants is None else list(self.foreign_constants)
            ),
            "pictures": [picture.to_dict() for picture in self.pictures],
            "layers": None if self.layers is None else self.layers.to_dict(),
            "hardware": self.hardware,
            "versions": self.versions,
        }


def _quality(tile: TileFidelity) -> tuple[int, float]:
    """Sorts tiles from bad to good: values that are not finite first, then by PSNR."""
    found = tile.difference
    return found.compared - found.count, found.psnr


def _rms(psnr: float) -> float:
    """The root of the mean squared error at a PSNR with peak 1."""
    return 10 ** (-psnr / 20)
