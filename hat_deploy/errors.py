"""Every exception that this package lets out on purpose.

    HatDeployError                 exit code 2 unless a subclass says otherwise
    ├── UsageError                 options that contradict each other or the artifact
    ├── MissingExtraError          a library that an optional extra installs is absent
    ├── CheckpointError            a checkpoint that cannot be read, or is of no known network
    ├── ArtifactError              an .onnx or .plan that cannot be read or run here
    ├── CheckFailed                a proof did not hold (exit code 1)
    └── PictureError               one image that cannot be processed; a folder run goes on

A message is one sentence or two: what was found, what was expected, and the way out. An error
about a file carries its ``path``. Engines and folder runs have narrower subclasses of these beside
the code that raises them. Other exceptions of the package only steer it: they are caught inside
it, and no caller meets them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_File = TypeVar("_File", bound="str | Path")

EXTRAS = {
    "torch": "export",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "safetensors": "export",
    "spandrel": "networks",
    "torchvision": "networks",
    "einops": "networks",
    "huggingface_hub": "hub",
    "onnxruntime": "cpu",
    "openvino": "cpu",
    "tensorrt": "gpu",
    "cuda": "gpu",
    "tensorrt_rtx": "rtx",
    "tensorrt_rtx_bindings": "rtx",
    "pycuda": "pycuda",
    "av": "video",
    "s3fs": "cloud",
    "gcsfs": "cloud",
    "adlfs": "cloud",
    "aiohttp": "cloud",
    "fsspec": "cloud",
    "pyarrow": "cloud",
    "ray": "ray",
}
"""Libraries that are not always there, by the name they are imported by, and the package's extra
that installs each."""


def install_command(extra: str) -> str:
    """How to install one of the package's extras, to go on after ``not installed: ``."""
    return f"run pip install '.[{extra}]' in a checkout of hat-deploy's repository"


class HatDeployError(Exception):
    """Base of all errors whose message is meant for the user as it stands."""

    exit_code = 2
    path: Path | None = None
    """The file that the error is about, where it is about one."""


class UsageError(HatDeployError):
    """Options that contradict each other, or an artifact they are used with."""


class MissingExtraError(HatDeployError):
    """A library that one of the package's extras would install is not there."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed: {install_command(extra)}"
        )
        self.library = library
        self.extra = extra


class CheckpointError(HatDeployError):
    """A file that is no checkpoint, or the checkpoint of another network."""


class ArtifactError(HatDeployError):
    """An artifact that is damaged, foreign, or not for this machine."""


class CheckFailed(HatDeployError):
    """A comparison with the reference did not hold."""

    exit_code = 1


class PictureError(HatDeployError):
    """One input that cannot be decoded, upscaled or written."""


@contextmanager
def about(path: str | Path) -> Iterator[None]:
    """Around work on a file: errors about a file that name none yet get its ``path``."""
    try:
        yield
    except (CheckpointError, ArtifactError, CheckFailed, PictureError) as error:
        error.path = error.path or Path(path)
        raise


def about_its_file(
    function: Callable[Concatenate[_File, _P], _R],
) -> Callable[Concatenate[_File, _P], _R]:
    """For functions whose first argument is a file: :func:`about` that file."""

    @wraps(function)
    def call(path: _File, /, *args: _P.args, **options: _P.kwargs) -> _R:
        with about(path):
            return function(path, *args, **options)

    return call


@contextmanager
def needed_for(purpose: str, *, library: str | None = None) -> Iterator[None]:
    """Around imports of libraries that an extra installs.

        with needed_for("Reading a checkpoint"):
            import torch

    Args:
        purpose: starts the sentence that says what is missing.
        library: the one that is imported, where what it imports in turn may be missing too.

    Raises:
        MissingExtraError: one of :data:`EXTRAS` is not installed.
        HatDeployError: one of them is installed and does not load.
    """
    try:
        yield
    except ImportError as error:
        reason = explained(error, purpose, library)
        if reason is None:
            raise
        raise reason from error


def explained(
    error: ImportError, purpose: str, library: str | None = None
) -> HatDeployError | None:
    """What to tell the user of an import that failed; None if it is not about :data:`EXTRAS`."""
    name = error.name or ""
    library = library or name.partition(".")[0]
    if library not in EXTRAS:
        return None
    if isinstance(error, ModuleNotFoundError) and name == library:
        return MissingExtraError(library, EXTRAS[library], purpose)
    return HatDeployError(
        f"{purpose} needs {library}, which is installed but does not load: {error}"
    )


def require(*libraries: str, purpose: str) -> None:
    """Find out that a library is missing before anything is done; none is loaded.

    Raises:
        MissingExtraError: one of them, of :data:`EXTRAS`, is not installed.
    """
    for library in libraries:
        first_installed(library, title=library, purpose=purpose)


def first_installed(*names: str, title: str, purpose: str, extra: str | None = None) -> str:
    """The first of the names that a library may be imported by; it is not loaded.

    Args:
        title: what people call it.
        extra: what installs it; by default what :data:`EXTRAS` says of the first name.

    Raises:
        MissingExtraError: it is not installed.
    """
    for name in names:
        if installed(name):
            return name
    raise MissingExtraError(title, extra or EXTRAS[names[0]], purpose)


def installed(module: str) -> bool:
    """Whether a module is there; it is not loaded, but the packages it is in are."""
    try:
        return find_spec(module) is not None
    except ImportError:  # one of these packages is absent
        return False
