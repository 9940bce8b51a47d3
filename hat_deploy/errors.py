"""Every exception this package raises on purpose.

    HatDeployError                 exit code 2 unless a subclass says otherwise
    ├── UsageError                 options that contradict each other or the artifact
    ├── MissingExtraError          a library that an optional extra installs is absent
    ├── CheckpointError            a checkpoint that cannot be read, or is not a HAT
    ├── ArtifactError              an .onnx or .plan that cannot be read or run here
    ├── CheckFailed                a proof did not hold (exit code 1)
    └── PictureError               one picture that cannot be processed; a folder run goes on

A message is one sentence or two: what was found, what was expected, and the way out.
"""

from __future__ import annotations


class HatDeployError(Exception):
    """Base of all errors whose message is meant for the user as it stands."""

    exit_code = 2


class UsageError(HatDeployError):
    """Options that contradict each other, or an artifact they are used with."""


class MissingExtraError(HatDeployError):
    """A library that one of the package's extras would install is not there."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed: pip install 'hat-deploy[{extra}]'"
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
