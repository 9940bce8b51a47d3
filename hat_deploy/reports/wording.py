"""The figures of a fidelity report in words, the same on the terminal and on the page."""

from __future__ import annotations

from hat_deploy.metrics import Difference
from hat_deploy.verify.fidelity import PictureFidelity, Report

COLUMNS = ("PSNR dB", "max abs", "mean abs", "8-bit equal", "by 1", "more", "NaN/inf")
"""What :func:`cells` gives."""


def rows(picture: PictureFidelity) -> list[tuple[str, Difference]]:
    """Everything that was compared on one image."""
    found = [
        (f"all tiles ({len(picture.tiles)})", picture.all_tiles),
        ("worst tile", picture.worst_tile.difference),
        ("end to end", picture.precision),
    ]
    if picture.tiling is not None and picture.total is not None:
        found += [("tiling alone", picture.tiling), ("against whole", picture.total)]
    return [*found, ("fp32's rounding", picture.rounding)]


def cells(found: Difference) -> list[str]:
    """The figures of a difference, as ``COLUMNS`` names them."""
    return [
        f"{found.psnr:.1f}",
        f"{found.max_abs:.1e}",
        f"{found.mean_abs:.1e}",
        *(
            f"{share:.3%}"
            for share in (found.share_equal, found.share_off_by_one, found.share_off_by_more)
        ),
        str(found.non_finite),
    ]


def limits(report: Report) -> str:
    """What was asked of every tile and image."""
    asked = report.limits
    text = (
        f"every tile and image has at least {asked.min_psnr:.1f} dB, "
        f"no value is off by more than {asked.max_abs:.1e}"
    )
    if asked.rounding:
        text += f" or {asked.rounding:g} times the reference's own rounding"
    return text
