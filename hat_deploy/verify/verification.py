"""An artifact against the PyTorch reference, on images: tile by tile and end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hat_deploy import engines, machine
from hat_deploy.artifact import Artifact
from hat_deploy.artifact.resolve import Checkpoint, checkpoint_named
from hat_deploy.engines.base import Array
from hat_deploy.errors import UsageError
from hat_deploy.export import misfit
from hat_deploy.images import samples
from hat_deploy.images.samples import Sample
from hat_deploy.networks import shape_of
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.networks.unstored import Unstored
from hat_deploy.terminal.progress import OnStage
from hat_deploy.tiles.averages import passes_over
from hat_deploy.verify.comparison import Comparison, OnRendering
from hat_deploy.verify.fidelity import Limits, PictureFidelity, Report

if TYPE_CHECKING:
    from hat_deploy.artifact import Description
    from hat_deploy.networks.network import Network
    from hat_deploy.verify.layer_errors import LayersReport


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Unstored):
    """What to verify on, and how strictly."""

    random: int = 0
    """Images of seeded noise besides the others."""
    halo: int | None = None
    """Border of a tile that is dropped; None: what the artifact carries."""
    passes: int | None = None
    """Passes over an image, at most, for an artifact that takes averages; None: two."""
    min_psnr: float | None = None
    max_abs: float | None = None
    """See :class:`~hat_deploy.verify.fidelity.Limits`; None: by the artifact's precision."""
    device: str = "cpu"
    """``cpu`` or ``cuda``, for the engine and the reference."""
    backend: str | None = None
    compute: str | None = None
    """What runs the artifact; see :func:`hat_deploy.engines.open_artifact`."""
    whole: bool = True
    """Whether images are also run whole by the reference, where they fit into memory."""
    layers: bool = False
    """Whether the two are also compared after every block, which takes an ``.onnx``."""


def verify(
    engine: Path | Artifact,
    reference: str | Path,
    pictures: Sequence[Path],
    options: VerifyOptions,
    *,
    on_stage: OnStage = lambda stage: None,
    on_rendering: OnRendering = lambda rendering: None,
) -> Report:
    """Compare an artifact with the network of a checkpoint, in fp32.

    Besides running both on images, the constants of an ``.onnx`` are compared with the
    checkpoint's tensors, converted to its precision: damage that moves the output by less than
    the precision's own rounding shows there and nowhere else.

    Args:
        engine: an artifact.
        reference: a checkpoint, or the name of a model that ships.
        pictures: image files, or folders of them; where there are none, images that ship.
        on_stage: told what is being done.
        on_rendering: shown what engine and reference made of each image.

    Returns:
        What was found. Whether it is good enough is in the report; nothing is raised for it.

    Raises:
        ArtifactError: the artifact cannot be read, or cannot run here.
        CheckpointError: the checkpoint cannot be read.
        UsageError: the two are networks of different scale, window or channels, the halo
            does not fit, or blocks are to be compared in a file that does not allow it.
        PictureError: an image cannot be decoded.
    """
    artifact = Artifact.of(engine)
    described = artifact.description
    checkpoint = checkpoint_named(reference)
    network = load_network(checkpoint.path, **options.given)
    _require_alike(described, network)
    warnings = tuple(_warnings(described, checkpoint, network))
    limits = _limits(described, options)
    chosen = choose_samples(
        pictures,
        options.random,
        tile=described.tile,
        window=described.window,
        channels=described.channels,
    )
    constants = _foreign_constants(artifact, network)
    halo = described.halo if options.halo is None else options.halo
    takes = described.averages is not None
    passes = passes_over(artifact.path, exact=takes, asked=options.passes)
    with engines.open_artifact(
        artifact,
        device=options.device,
        backend=options.backend,
        compute=options.compute,
        self_test=False,  # far more is compared here, and a failure shown
    ) as opened:
        comparison = Comparison(
            opened,
            network,
            halo=halo,
            device=options.device,
            whole=options.whole,
            passes=passes,
        )
        figures = tuple(_run_all(comparison, chosen, on_stage, on_rendering))
        engine_name = opened.name
    depth = _layers(artifact, network, chosen[0], on_stage) if options.layers else None
    return Report(
        artifact=facts(artifact) | {"description": asdict(described)},
        reference=facts(checkpoint),
        engine=engine_name,
        settings=asdict(options) | {"halo": halo, "passes": passes},
        hardware=machine.examine().to_dict(),
        versions=machine.versions(),
        limits=limits,
        pictures=figures,
        foreign_constants=constants,
        warnings=(*warnings, *_gray_warning(described, chosen)),
        layers=depth,
    )


def facts(file: Artifact | Checkpoint) -> dict[str, Any]:
    """Which file it was, for a report: ``path``, ``sha256`` and ``bytes``."""
    size = file.path.stat().st_size
    return {"path": str(file.path), "sha256": file.sha256, "bytes": size}


def _limits(described: Description, options: VerifyOptions) -> Limits:
    computed_in = options.compute or described.precision
    limits = Limits.of(computed_in, min_psnr=options.min_psnr, max_abs=options.max_abs)
    return limits.for_bytes() if described.io == "uint8" else limits


def _run_all(
    comparison: Comparison,
    chosen: Sequence[Sample],
    on_stage: OnStage,
    on_rendering: OnRendering,
) -> Iterator[PictureFidelity]:
    for number, sample in enumerate(chosen, 1):
        on_stage(f"{sample.name} ({number} of {len(chosen)})")
        yield comparison.run(sample, on_rendering)


def _layers(engine: Artifact, network: Network, sample: Sample, on_stage: OnStage) -> LayersReport:
    from hat_deploy.verify import layers

    on_stage(f"{sample.name}, block by block")
    return layers.compare_blocks(engine, network.cpu(), sample)


def _require_alike(described: Description, network: Network) -> None:
    """Refuse networks that cannot be run side by side."""
    config = network.config
    for name, own, wanted in (
        ("scale", described.scale, config.scale),
        ("window", described.window, config.window),
        ("channels", described.channels, config.channels),
    ):
        if own != wanted:
            raise UsageError(
                f"the artifact's {name} is {own}, the reference's {wanted}: they are different "
                "networks; give the checkpoint that the artifact was made from"
            )


def choose_samples(
    pictures: Sequence[Path], random: int, *, tile: tuple[int, int], window: int, channels: int
) -> list[Sample]:
    """The images named, or those that ship if none is, and ``random`` images of noise.

    Args:
        pictures: image files, or folders of them.
        random: how many images of noise, each of a tile's size.
        tile: height and width of a tile.
        window: the network's.
        channels: 1 or 3.

    Raises:
        PictureError: an image cannot be decoded.
    """
    if pictures:
        chosen = [samples.read(path, channels) for path in samples.listed(pictures)]
    else:
        chosen = samples.shipped(tile, window, channels)
    return chosen + samples.noise(random, tile, channels)


def _foreign_constants(artifact: Artifact, network: Network) -> tuple[str, ...] | None:
    if not artifact.is_onnx:
        return None
    from hat_deploy.verify import weights as constants

    described = artifact.description
    if described.assignment is not None:
        network.assign(described.assignment)
    converted = network.in_precision(described.precision)
    return tuple(constants.foreign(artifact.path, converted))


def _warnings(described: Description, checkpoint: Checkpoint, network: Network) -> Iterator[str]:
    if described.checkpoint_sha256 != checkpoint.sha256:
        yield f"the artifact says that it was made from another file than {checkpoint.path}"
    differing = shape_of(described.config).differences(network.config)
    for name, (own, wanted) in differing.items():
        yield f"the artifact was made with {name} {own}; the reference has {wanted}"
    if doubtful := misfit.doubt(network):
        yield doubtful


def _gray_warning(described: Description, chosen: Sequence[Sample]) -> Iterator[str]:
    if described.channels == 3 and all(_is_gray(sample.pixels) for sample in chosen):
        yield "all images are gray: swapped channels would not show"


def _is_gray(pixels: Array) -> bool:
    return bool((pixels == pixels[..., :1]).all())
