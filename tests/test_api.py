"""The Python API as programs use it: a changed signature is a decision, not an accident."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

import hat_deploy
from hat_deploy import Upscaler, artifact, errors, folders, images
from hat_deploy.images import samples
from hat_deploy.networks import checkpoint

SIGNATURES = {
    Upscaler.__init__: "(self, "
    "model: 'str | Path | Artifact | Checkpoint | Engine' = 'hat-nano-x2', *, "
    "tile: 'int | tuple[int, int] | None' = None, halo: 'int | None' = None, batch: 'int' = 1, "
    "exact: 'bool' = False, passes: 'int | None' = None, "
    "device: 'str' = 'cpu', backend: 'str | None' = None, compute: 'str | None' = None, "
    "precision: 'str | None' = None, "
    "threads: 'int | None' = None, streams: 'int' = 1, conv_scale: 'float | None' = None, "
    "img_range: 'float | None' = None, qk_scale: 'float | None' = None, "
    "shift: 'bool | None' = None, self_test: 'bool' = True, retry_wider: 'bool' = True, "
    "on_stage: 'OnStage' = <function>, "
    "on_warning: 'OnStage' = <function>) -> 'None'",
    Upscaler.upscale: "(self, pixels: 'Array', *, size: 'TargetSize | None' = None, "
    "linear_light: 'bool' = False, progress: 'OnTiles | None' = None, whole: 'bool' = False) -> "
    "'Array'",
    Upscaler.upscale_many: "(self, images: 'Iterable[Array]', *, size: 'TargetSize | None' = None, "
    "linear_light: 'bool' = False) -> 'Iterator[Array]'",
    Upscaler.upscale_async: "(self, pixels: 'Array', *, size: 'TargetSize | None' = None, "
    "linear_light: 'bool' = False) -> 'Array'",
    Upscaler.close: "(self) -> 'None'",
    Upscaler.upscale_file: "(self, source: 'str | Path', target: 'str | Path', *, "
    "quality: 'int' = 95, size: 'TargetSize | None' = None, linear_light: 'bool' = False, "
    "progress: 'OnTiles | None' = None) -> 'Done'",
    Upscaler.upscale_folder: "(self, folder: 'str | Path', output: 'str | Path | None' = None, *, "
    "recursive: 'bool' = False, format: 'str | None' = None, quality: 'int' = 95, "
    "overwrite: 'bool' = False, fail_fast: 'bool' = False, memory: 'int | None' = None, "
    "size: 'TargetSize | None' = None, linear_light: 'bool' = False, "
    "background: 'Colour | None' = None, keep_times: 'bool' = False, "
    "video: 'VideoOptions | None' = None, "
    "progress: 'OnProgress | None' = None) -> 'list[Outcome]'",
    Upscaler.tiles: "(self, height: 'int', width: 'int') -> 'int'",
    folders.run: "(jobs: 'Iterable[Job]', upscaler: 'Enlarger', "
    "options: 'Options | None' = None, *, "
    "progress: 'OnProgress | None' = None, on_note: 'Callable[[str], object]' = <function>) -> "
    "'Generator[Outcome, None, None]'",
}

FIELDS = {
    folders.Done: ["job", "seconds", "tiles", "notes", "damaged", "padded"],
    folders.Skipped: ["job", "reason"],
    folders.Failed: ["source", "target", "reason", "tried"],
    folders.Progress: ["settled", "jobs", "source", "tiles_done", "tiles", "clip"],
    folders.Options: [
        *("quality", "overwrite", "fail_fast", "memory", "max_pixels", "size", "linear_light"),
        *("shard", "background", "keep_times", "video"),
    ],
}


def signature(function: object) -> str:
    """As ``inspect`` writes it, without the addresses of functions that are defaults."""
    return re.sub(
        r"<built-in function \w+>|<function .*? at 0x[0-9a-f]+>",
        "<function>",
        str(inspect.signature(function)),
    )


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_signatures(function: object) -> None:
    assert signature(function) == SIGNATURES[function]


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
def test_what_outcomes_carry(kind: type) -> None:
    assert [field.name for field in fields(kind)] == FIELDS[kind]


def test_names() -> None:
    public = {name for name in dir(Upscaler) if not name.startswith("_")}
    assert public == {
        *("upscale", "upscale_many", "upscale_async", "upscale_file", "upscale_folder"),
        *("scale", "tiles", "close", "enlargement", "engine_for"),
    }
    assert hat_deploy.__all__ == [
        *("Done", "Failed", "HatDeployError", "Skipped", "TargetSize", "Upscaler", "__version__"),
    ]
    for name in ("Done", "Failed", "Skipped"):
        assert getattr(hat_deploy, name) is getattr(folders, name)
    assert folders.__all__ == [
        *("ClipProgress", "Done", "Failed", "Job", "OnProgress", "Options", "Outcome", "Progress"),
        *("Skipped", "run", "run_list", "upscale_one"),
    ]


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (images.decode, errors.PictureError),
        (samples.read, errors.PictureError),
        (artifact.describe, errors.ArtifactError),
        (checkpoint.load_network, errors.CheckpointError),
        (checkpoint.inspect, errors.CheckpointError),
    ],
    ids=lambda value: value.__name__,
)
def test_an_error_about_a_file_carries_its_path(
    read: Callable[..., object], kind: type[errors.HatDeployError], tmp_path: Path
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    arguments = (3,) if read is samples.read else ()
    with pytest.raises(kind) as raised:
        read(tmp_path / "bad.onnx", *arguments)
    assert raised.value.path == tmp_path / "bad.onnx"


def test_every_error_for_people_is_in_the_tree() -> None:
    """Other exceptions of the package steer it and are caught inside it."""
    described = errors.__doc__ or ""
    for name, found in vars(errors).items():
        if isinstance(found, type) and issubclass(found, errors.HatDeployError):
            assert name in described


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import hat_deploy, sys; print(sorted(sys.modules))"
    run = [sys.executable, "-c", code]
    loaded = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "'hat_deploy'" in loaded
    assert not {"numpy", "cv2", "torch", "hat_deploy.folders"} & set(ast.literal_eval(loaded))


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_everything_public_is_explained(function: object) -> None:
    described = Upscaler.__doc__ if function is Upscaler.__init__ else inspect.getdoc(function)
    assert described
    for name in inspect.signature(function).parameters:
        shared = function in (Upscaler.upscale_many, Upscaler.upscale_async)
        if shared and name in ("pixels", "size", "linear_light"):  # in one line
            assert name in described
        elif name not in ("self", "height", "width", "jobs", "upscaler", "options", "progress"):
            assert f"{name}:" in described, name
