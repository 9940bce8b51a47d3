"""Whether a plan fits the TensorRT and the GPU that are here, and what to do where it does not."""

from __future__ import annotations

import shlex
from pathlib import Path

from hat_deploy.artifact import Description
from hat_deploy.artifact.plan_file import RTX_MAGIC
from hat_deploy.engines.cuda.base import GPU
from hat_deploy.engines.inflight import Need
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import ArtifactError
from hat_deploy.geometry import format_size
from hat_deploy.terminal.printable import display_name


def flavour_of(path: Path, described: Description) -> Flavour:
    """The flavour that built a plan.

    Raises:
        ArtifactError: it does not say, or its first bytes say otherwise.
    """
    with path.open("rb") as stream:
        begins_as_rtx = stream.read(len(RTX_MAGIC)) == RTX_MAGIC
    said = [flavour for flavour in Flavour if flavour in described.versions]
    if said == [Flavour.RTX if begins_as_rtx else Flavour.TENSORRT]:
        return said[0]
    found = "a plan" if begins_as_rtx else "anything but a plan"
    wanted = " or ".join(flavour.label for flavour in said) or "neither TensorRT"
    raise ArtifactError(
        f"{path} begins like {found} of TensorRT for RTX and describes itself as made by "
        f"{wanted}: it is damaged; {rebuild(path, described)}"
    )


def require_flavour(path: Path, described: Description, installed: list[Flavour]) -> None:
    """Refuse a plan of the flavour that is not here, where the other is.

    Args:
        installed: flavours on this machine.

    Raises:
        ArtifactError: it was built by the other.
    """
    flavour = flavour_of(path, described)
    if installed and flavour not in installed:
        other = installed[0]
        raise ArtifactError(
            f"{path} was built by {flavour.label} {described.versions[flavour]}, and only "
            f"{other.label} is installed here, which cannot run it: "
            f"{rebuild(path, described, flavour=other)}"
        )


def require_version(path: Path, described: Description, flavour: str, version: str) -> None:
    """Refuse a plan of another release: plans run only on the one that built them.

    Args:
        version: of the library that is here. Builds of one release are told apart by the
            library itself.

    Raises:
        ArtifactError: it is another.
    """
    built = described.versions[flavour]
    if built.split(".")[:3] != version.split(".")[:3]:
        raise ArtifactError(
            f"{path} was built by {Flavour.of(flavour).label} {built}, and {version} is installed "
            f"here, which cannot run it: {rebuild(path, described, flavour=flavour)}"
        )


def require_gpu(path: Path, described: Description, flavour: str, gpu: GPU) -> None:
    """Refuse a plan for GPUs of another generation.

    Raises:
        ArtifactError: this one is not among its targets.
    """
    if described.targets and gpu.sm not in described.targets:
        raise ArtifactError(
            f"{path} was built for {', '.join(described.targets)}, and this machine has an "
            f"{gpu.name}, which is {gpu.sm}: "
            f"{rebuild(path, described, flavour=flavour, gpu=gpu.sm)}"
        )


def no_memory(
    path: Path, described: Description, need: Need | None, gpu: GPU, memory: tuple[int, int]
) -> ArtifactError:
    """The error for a plan that the GPU's free memory does not hold.

    Args:
        need: of one batch; None where not even the weights fit.
        memory: bytes free and in all.
    """
    free, total = (f"{n / 1e9:.2f} GB" for n in memory)
    wanted = f"the {path.stat().st_size / 1e9:.2f} GB of the plan"
    if need is not None:
        wanted = (
            f"{need.total / 1e9:.2f} GB for one batch, {need.scratch / 1e9:.2f} GB of it scratch"
        )
    return ArtifactError(
        f"{path} does not fit into the memory of this {gpu.name}: it takes {wanted}, and {free} "
        f"of {total} are free; close what uses the rest, or use a smaller tile or batch than "
        f"{format_size(described.tile)} and {described.batch}: {rebuild(path, described)}"
    )


def rebuild(
    path: Path, described: Description, *, flavour: str | None = None, gpu: str | None = None
) -> str:
    """The command that builds a plan again, with what it was built with before.

    Args:
        flavour: to build with, if another than the one that is found.
        gpu: to build for; only RTX builds for a GPU by name.
    """
    words = ["hat-deploy", "export", "CHECKPOINT", "-o", path.name]
    words += ["--tile", format_size(described.tile), "--batch", str(described.batch)]
    words += ["--precision", described.precision, "--io", described.io]
    if flavour:
        words += ["--flavour", flavour]
    if gpu and flavour == Flavour.RTX:
        words += ["--gpu", gpu]
    # To be pasted into a shell, whatever the file and its description are called.
    command = shlex.join(map(display_name, words))
    return f"build it again, from the checkpoint of {display_name(described.model)}: {command}"
