"""Who runs against whom: from the options of ``bench`` to contenders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hat_deploy.artifact import zoo
from hat_deploy.artifact.resolve import Checkpoint, checkpoint_named
from hat_deploy.bench.contenders import ArtifactContender, Contender, of_artifact, of_network
from hat_deploy.engines import doctor
from hat_deploy.errors import MissingExtraError, UsageError
from hat_deploy.precision import OPENVINO, PLAIN, Precision

SEEDED = (
    "no checkpoint was given: the reference is a network of the same shape with seeded random "
    "weights; its times are those of the real one, its images are not"
)


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """The contenders of one run, in the order they take turns."""

    contenders: tuple[Contender, ...]
    baseline: str | None
    """Label of the contender that ratios refer to; None when there is nothing to compare."""
    subject: str | None
    """Label of the contender that a limit is about."""
    notes: tuple[str, ...] = ()
    """What the reader of the figures has to know."""

    def __post_init__(self) -> None:
        scales = {contender.config.scale for contender in self.contenders}
        if len(scales) > 1:
            raise UsageError(
                f"artifacts of scale {' and '.join(map(str, sorted(scales)))} do different "
                "work: compare those of one scale"
            )


def for_engine(
    engine: Path,
    *,
    reference: str | None = None,
    against: Sequence[Path] = (),
    with_reference: bool = True,
    reference_precision: str = Precision.FP32,
    device: str = "cpu",
    backend: str | None = None,
    compute: str | None = None,
    halo: int | None = None,
) -> Lineup:
    """An artifact, the PyTorch network beside it, and other artifacts.

    Args:
        engine: the artifact that it is about.
        reference: checkpoint, or name of a shipped model; without one, seeded weights.
        against: more artifacts. Where there is no reference, ratios refer to the first.
        with_reference: False leaves the reference out.
        backend, compute: what runs ``engine``; the others run as they do by default.
        halo: in force for all; by default each artifact's own.

    Raises:
        ArtifactError: one is no artifact.
        UsageError: they cannot be compared.
        MissingExtraError: a reference was given and PyTorch is not installed.
    """
    if reference is not None and not with_reference:
        raise UsageError("a reference was given and left out at once: choose one")
    subject = of_artifact(
        engine, label="engine", device=device, halo=halo, backend=backend, compute=compute
    )
    others = [
        of_artifact(path, label=f"against {number}", device=device, halo=halo)
        for number, path in enumerate(against, 1)
    ]
    first: list[Contender] = []
    notes: list[str] = []
    if with_reference:
        first, notes = _reference(subject, reference, reference_precision)
    contenders = [*first, subject, *others]
    baseline = next((c.label for c in [*first, *others]), None)
    if baseline != "reference" and baseline:
        notes.append(f"there is no reference: ratios refer to {against[0]}")
    return Lineup(
        contenders=tuple(contenders), baseline=baseline, subject="engine", notes=tuple(notes)
    )


def for_machine(model: str | None = None, *, halo: int | None = None) -> Lineup:
    """Every engine that this machine has, on a shipped model.

    Raises:
        UsageError: no such model.
        MissingExtraError: there is no engine at all.
    """
    shipped = zoo.find(model or zoo.DEFAULT)
    checkpoint = Checkpoint(shipped.checkpoint, shipped.name, shipped)
    usable = {finding.engine for finding in doctor.examine() if finding.usable}
    found: list[Contender] = []
    for device, precisions in (("cpu", OPENVINO), ("cuda", PLAIN)):
        on_device = of_artifact(
            shipped.artifact,
            label=f"onnxruntime {device}",
            device=device,
            halo=halo,
            backend="onnxruntime",
        )
        if f"torch, {device}" in usable:
            found += [
                of_network(
                    on_device,
                    label=f"torch {device} {precision}",
                    checkpoint=checkpoint,
                    precision=precision,
                )
                for precision in precisions
            ]
        if f"onnxruntime, {device}" in usable:
            found.append(on_device)
        found += [
            replace(
                on_device,
                label=f"openvino {device} {precision}",
                precision=precision,
                backend="openvino",
                compute=precision,
            )
            for precision in precisions
            if f"openvino, {device}, {precision}" in usable
        ]
    if not found:
        raise MissingExtraError("onnxruntime", "cpu", "Benchmarking a model")
    baseline = found[0].label if len(found) > 1 else None
    return Lineup(contenders=tuple(found), baseline=baseline, subject=None)


def _reference(
    subject: ArtifactContender, given: str | None, precision: str
) -> tuple[list[Contender], list[str]]:
    """The PyTorch network beside an artifact, or a note why there is none."""
    try:
        import hat_deploy.engines.torch  # noqa: F401
    except MissingExtraError as error:
        if given is not None:
            raise
        return [], [f"timed without a reference: {error}"]
    if given is None:
        network = of_network(subject, label="reference", checkpoint=None, precision=precision)
        return [network], [SEEDED]
    checkpoint = checkpoint_named(given)
    network = of_network(subject, label="reference", checkpoint=checkpoint, precision=precision)
    return [network], _foreign(subject, checkpoint)


def _foreign(subject: ArtifactContender, checkpoint: Checkpoint) -> list[str]:
    artifact = subject.artifact
    if artifact.description.checkpoint_sha256 == checkpoint.sha256:
        return []
    return [f"{artifact.path} was made from other weights than {checkpoint.path}"]
