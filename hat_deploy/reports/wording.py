"""The figures of a fidelity report in words, the same on the terminal and on the page."""

from __future__ import annotations

from hat_deploy.geometry import tile_size
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


def padding(picture: PictureFidelity) -> str | None:
    """What became of an image smaller than the tile, as a clause; None of any other."""
    if picture.padded_to is None:
        return None
    text = f"smaller than the tile and padded up to {tile_size(picture.padded_to)}"
    if picture.tiling is not None:
        changed = "that alone" if len(picture.tiles) == 1 else "that and tiling"
        text += (
            f"; {changed} moves it to {picture.tiling.psnr:.1f} dB of the whole image, by up to "
            f"{picture.tiling.max_abs * 255:.1f} of 255"
        )
    return f"{text}; an .onnx exported with --any-size is not padded"


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
