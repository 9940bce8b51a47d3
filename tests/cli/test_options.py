"""Options and modes: what would change nothing is refused, in every mode of every command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from commands import Run
from fakes import IdentityEngine
from PIL import Image

from hat_deploy import cli
from hat_deploy.api import Upscaler
from hat_deploy.errors import UsageError

VALUES = {
    "tile": "--tile 16",
    "any_size": "--any-size",
    "batch": "--batch 2",
    "halo": "--halo 4",
    "precision": "--precision fp16",
    "io": "--io uint8",
    "opset": "--opset 20",
    "made_for": "--for any",
    "prove": "--prove auto",
    "min_psnr": "--min-psnr 1",
    "conv_scale": "--conv-scale 1",
    "img_range": "--img-range 1",
    "qk_scale": "--qk-scale 1",
    "shift": "--shift",
    "gpu": "--gpu sm89",
    "flavour": "--flavour rtx",
    "device": "--device cpu",
    "backend": "--backend openvino",
    "compute": "--compute fp32",
    "streams": "--streams 2",
    "retry_wider": "--retry-wider",
    "quality": "--quality 95",
    "reference": "--reference tiny.pth",
    "reference_precision": "--reference-precision fp32",
    "against": "--against tiny.onnx",
    "no_reference": "--no-reference",
    "model": "--model hat-nano-x2",
    "threads": "--threads 2",
    "linear_light": "--linear-light",
    "suffix": "--suffix _large",
    "recursive": "-r",
    "shard": "--shard 0/2",
    "memory": "--memory 1G",
    "keep_times": "--keep-times",
    "report": "--report run.jsonl",
    "fail_fast": "--fail-fast",
    "dry_run": "--dry-run",
    "as_json": "--json",
    "codec": "--codec h264",
    "crf": "--crf 20",
    "preset": "--preset slow",
    "pixel_format": "--pixel-format yuv420p",
    "deinterlace": "--deinterlace",
    "reuse": "--no-reuse",
}
"""How each option is given that is refused somewhere; values that exist are the defaults."""

MADE = ("tile", "conv_scale", "img_range", "qk_scale", "shift")
"""What is settled when an artifact is made."""

MODES: dict[tuple[str, str], tuple[str, ...]] = {
    ("export", "tiny.pth -o x.onnx --tile 16"): ("gpu", "flavour"),
    ("export", "tiny.onnx -o x.plan"): (
        "tile", "any_size", "batch", "halo", "precision", "io", "opset", "made_for", "prove",
        "min_psnr", "conv_scale", "img_range", "qk_scale", "shift",
    ),
    ("verify", "--engine x.plan --reference tiny.pth"): ("device", "backend", "compute"),
    ("bench", ""): (
        "reference", "reference_precision", "against", "no_reference", "device", "backend",
        "compute",
    ),
    ("bench", "--engine tiny.onnx"): ("model",),
    ("bench", "--engine tiny.onnx --no-reference"): ("reference_precision",),
    ("bench", "--engine x.plan"): ("device", "backend", "compute"),
    ("upscale", "photos --engine tiny.onnx"): (*MADE, "batch", "precision"),
    ("upscale", "photos --model tiny.onnx"): (*MADE, "batch", "precision"),
    ("upscale", "photos --engine x.plan"): (
        *MADE, "batch", "precision", "device", "backend", "compute", "streams", "retry_wider",
        "threads",
    ),
    ("upscale", "photos --engine tiny.onnx --backend onnxruntime"): (*MADE, "precision", "streams"),
    ("upscale", "photos --tile auto"): ("batch",),
    ("upscale", "photos"): ("linear_light",),
    ("upscale", "photos -o large"): ("suffix",),
    ("upscale", "-"): (
        "shard", "recursive", "suffix", "memory", "keep_times", "report", "fail_fast", "dry_run",
        "as_json",
    ),
    ("upscale", "photos/a.png"): (
        "codec", "crf", "preset", "pixel_format", "deinterlace", "reuse",
    ),
    ("upscale", "photos --ray local"): (
        "shard", "codec", "crf", "preset", "pixel_format", "deinterlace", "reuse",
    ),
    ("upscale", "photos --format png"): ("quality",),
    ("upscale", "photos --format .TIFF"): ("quality",),
    ("evaluate", "--hr photos --engine tiny.onnx"): MADE,
    ("evaluate", "--hr photos --engine x.plan"): (*MADE, "device", "backend", "compute"),
}  # fmt: skip
"""A mode of a command, and the options that do not apply in it."""

ALWAYS = {
    "status": {"output", "as_json"},
    "export": {"checkpoint", "output", "exact", "as_json"},
    "verify": {
        "reference", "engine", "images", "random", "min_psnr", "max_abs", "halo", "whole",
        "passes", "layers", "report", "conv_scale", "img_range", "qk_scale", "shift", "as_json",
    },
    "ranges": {
        "checkpoint", "images", "random", "conv_scale", "img_range", "qk_scale", "shift", "device",
        "as_json",
    },
    "bench": {
        "engine", "threads", "halo", "image", "scope", "iterations", "seconds", "warmup", "limit",
        "memory", "max_ratio", "as_json", "plot",
    },
    "upscale": {
        "paths", "output", "manifest", "ray", "model", "engine", "halo", "overwrite", "format_",
        "self_test", "exact", "passes",
        "max_pixels", "width", "height", "longest", "megapixels", "scale", "background", "quiet",
        "verbose",
    },
    "evaluate": {
        "hr", "lr", "model", "engine", "halo", "csv", "report", "as_json", "exact", "passes",
    },
    "attribute": {
        "image", "box", "model", "output", "around", "tile", "steps", "conv_scale", "img_range",
        "qk_scale", "shift", "device", "as_json",
    },
    "info": {"file", "as_json"},
    "models": {"as_json"},
    "doctor": {"as_json"},
}  # fmt: skip
"""Options that change something in every mode, or that a mode is made of."""


@pytest.fixture
def folder(here: Path) -> Path:
    (here / "x.plan").write_bytes(b"ftrt")
    (here / "photos").mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(here / "photos" / "a.png")
    return here


@pytest.mark.parametrize(("command", "arguments"), MODES)
def test_what_does_not_apply_is_refused(
    command: str, arguments: str, folder: Path, run: Run
) -> None:
    there = sorted(folder.iterdir())
    for name in MODES[command, arguments]:
        option = VALUES[name].split()[0]
        ended = run(f"{command} {arguments} {VALUES[name]}")
        assert ended.refused(f"{option} does not apply: "), ended.err
    assert sorted(folder.iterdir()) == there


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("photos --tile auto", "--tile auto looks at the images first, which --ray does not"),
        ("-", "--ray works on files, and - is standard input or output"),
        ("photos --device cpu,cpu", "--device cpu,cpu: with --ray say cpu or cuda"),
        ("photos/a.png -o -", "--ray works on files, and - is standard input or output"),
    ],
)
def test_a_cluster_is_not_asked_for_what_it_does_not_do(
    arguments: str, says: str, folder: Path, run: Run
) -> None:
    assert run(f"upscale {arguments} --ray local").refused(says)


def test_several_are_named_at_once(folder: Path, run: Run) -> None:
    ended = run("export tiny.onnx -o x.plan --gpu sm89 --precision fp16 --tile 16 --io uint8")
    assert ended.refused("--tile, --precision, --io do not apply: tiny.onnx was exported with its")


@pytest.mark.parametrize("command", sorted(ALWAYS))
def test_every_option_has_its_place_in_the_table(command: str) -> None:
    options = {
        parameter.name
        for parameter in typer.main.get_command(cli.app).commands[command].params  # type: ignore[attr-defined]
    }
    refused = {name for (where, _), names in MODES.items() if where == command for name in names}
    assert options == ALWAYS[command] | refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("tiny.onnx -o y.onnx", "tiny.onnx is an .onnx already: give its checkpoint"),
        ("x.plan -o y.onnx", "x.plan is a plan, which cannot become anything else"),
        ("x.plan -o y.plan --gpu sm89", "x.plan is a plan, which cannot become anything else"),
    ],
)
def test_an_artifact_becomes_a_plan_or_nothing(
    arguments: str, says: str, folder: Path, run: Run
) -> None:
    assert run(f"export {arguments}").refused(says)


class TestUpscaler:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"tile": (16, 16)},
            {"batch": 2},
            {"device": "cuda"},
            {"backend": "openvino"},
            {"compute": "bf16"},
            {"precision": "bf16"},
            {"threads": 2},
            {"streams": 2},
        ],
    )
    def test_an_engine_has_its_own(self, arguments: dict[str, object]) -> None:
        (name,) = arguments
        with pytest.raises(UsageError, match=f"its own {name}: leave it out"):
            Upscaler(IdentityEngine(), **arguments)  # type: ignore[arg-type]

    def test_several_at_once(self) -> None:
        with pytest.raises(UsageError, match="its own batch, streams: leave them out"):
            Upscaler(IdentityEngine(), batch=2, streams=2)

    def test_an_artifact_has_its_batch(self, tiny_onnx: Path) -> None:
        with pytest.raises(UsageError, match=r"tiny\.onnx was built for 2 tiles in one call, not"):
            Upscaler(tiny_onnx, batch=4)
        with Upscaler(tiny_onnx, batch=2) as upscaler:
            assert upscaler.engine.input.batch == 2

    def test_streams_are_openvinos(self, tiny_onnx: Path) -> None:
        with pytest.raises(UsageError, match="ONNX Runtime computes one batch at a time"):
            Upscaler(tiny_onnx, backend="onnxruntime", streams=2)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"tile": "64"}, "tile is '64'; one side, such as 256, or a pair"),
            ({"tile": (64,)}, r"tile is \(64,\); one side"),
            ({"tile": 0}, "tile is 0; one side"),
            ({"tile": True}, "tile is True; one side"),
            ({"backend": "OpenVINO"}, "backend is 'OpenVINO'; use openvino or onnxruntime"),
            ({"compute": "int8"}, "compute is 'int8'; use fp32 or bf16"),
            ({"threads": 0}, "threads is 0; a whole number of at least 1"),
            ({"threads": 1.5}, "threads is 1.5; a whole number"),
            ({"streams": -1}, "streams is -1; a whole number"),
            ({"batch": "2"}, "batch is '2'; a whole number"),
            ({"halo": -4}, "halo is -4; a whole number of at least 0"),
            ({"device": "gpu"}, "device gpu: use cpu, cuda, or a GPU by number such as cuda:1"),
            ({"model": None}, "the model is None; a path, the name of a model that ships"),
        ],
    )
    def test_what_no_engine_takes_is_said(self, arguments: dict[str, object], says: str) -> None:
        with pytest.raises(UsageError, match=says):
            Upscaler(**arguments)  # type: ignore[arg-type]

    def test_a_tile_may_be_named_by_one_side(self, tiny_onnx: Path) -> None:
        for tile in (24, np.int64(24)):
            with pytest.raises(UsageError, match="built for tiles of 24x16, not 24x24"):
                Upscaler(tiny_onnx, tile=tile)
        Upscaler(tiny_onnx, tile=[24, 16]).close()  # type: ignore[arg-type]
