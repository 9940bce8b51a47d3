"""Export the shipped model, upscale the images in examples/, measure, and show.

    make demo

Writes to ``--out``: the ONNX file, the upscaled images, and for each a before/after PNG with
bicubic interpolation on the left and the network on the right.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from hat_deploy import Upscaler, images
from hat_deploy.artifact import zoo
from hat_deploy.engines.base import Array
from hat_deploy.export.to_onnx import ExportOptions, ExportReport, export_onnx
from hat_deploy.files import sha256
from hat_deploy.images.resize import bicubic, round_to_uint8
from hat_deploy.metrics import psnr_y, ssim_y
from hat_deploy.networks.checkpoint import load_network

EXAMPLES = Path(__file__).parent
DETAILS = {"china": (186, 20), "flower": (110, 250)}
"""Top left of the detail that the before/after image shows, in the upscaled image."""
SIDE = 240
ENLARGED = 2


def export(folder: Path) -> ExportReport:
    model = zoo.find(zoo.DEFAULT)
    return export_onnx(
        load_network(model.checkpoint),
        folder / f"{model.name}.onnx",
        ExportOptions(),
        model=model.name,
        checkpoint_sha256=sha256(model.checkpoint),
        on_stage=lambda stage: print(f"  {stage} ..."),
    )


def before_after(name: str, before: Array, after: Array) -> Array:
    """The same detail twice, side by side, pixels enlarged so that they can be seen."""
    y, x = DETAILS.get(name, (0, 0))
    details = [image[y : y + SIDE, x : x + SIDE] for image in (before, after)]
    large = [detail.repeat(ENLARGED, 0).repeat(ENLARGED, 1) for detail in details]
    gap = np.full((large[0].shape[0], 8, 3), 255, np.uint8)
    return np.hstack([large[0], gap, large[1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out = parser.parse_args().out

    print(f"exporting {zoo.DEFAULT} to ONNX")
    report = export(out)
    proof = report.proof
    rows = []
    with Upscaler(report.path) as upscaler:
        for source in sorted(EXAMPLES.glob("*.png")):
            small = images.decode(source)
            started = time.monotonic()
            large = upscaler.upscale(small.pixels)
            seconds = time.monotonic() - started
            original = images.decode(EXAMPLES / "originals" / f"{source.stem}.jpg").pixels
            height, width = large.shape[:2]
            original = original[:height, :width]
            simple = round_to_uint8(bicubic(small.pixels, height, width))
            images.write(replace(small, pixels=large), out / f"{source.stem}-x2.png")
            shown = before_after(source.stem, simple, large)
            images.write(images.Picture(pixels=shown), out / f"{source.stem}-before-after.png")
            scores = [
                f"{metric(image, original, border=2):.{digits}f}"
                for metric, digits in ((psnr_y, 2), (ssim_y, 4))
                for image in (simple, large)
            ]
            size = f"{small.pixels.shape[1]}x{small.pixels.shape[0]}"
            rows.append((source.name, f"{size} to {width}x{height}", *scores, f"{seconds:.1f}"))

    heads = ("image", "size", "PSNR bicubic", "HAT", "SSIM bicubic", "HAT", "seconds")
    table = [heads, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    print()
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print(
        f"\nproof: {report.path} in ONNX Runtime against PyTorch fp32, "
        f"one {report.proof_tile[0]}x{report.proof_tile[1]} tile of noise: "
        f"max difference {proof.max_abs:.1e}, PSNR {proof.psnr:.0f} dB"
    )
    print(f"look: {', '.join(str(path) for path in sorted(out.glob('*-before-after.png')))}")


if __name__ == "__main__":
    main()
