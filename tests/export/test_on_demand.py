from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import random_network, tiny_config

from hat_deploy import cache
from hat_deploy.artifact import describe, zoo
from hat_deploy.artifact.resolve import Checkpoint, resolve
from hat_deploy.engines import cuda
from hat_deploy.engines.tensorrt import library
from hat_deploy.engines.tensorrt.flavours import Flavour
from hat_deploy.errors import ArtifactError, CheckFailed, UsageError
from hat_deploy.export import on_demand, to_onnx, to_plan
from hat_deploy.export.on_demand import Wanted
from hat_deploy.export.on_demand_export import OnDemandExport, PlanTarget
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.networks.unstored import Unstored

TILE = (16, 16)


def artifact_for(
    model: str | Path, *, on_stage: Callable[[str], None] = lambda stage: None, **wanted: object
) -> Path:
    """The file that runs for what was named."""
    found = on_demand.artifact_for(resolve(model), Wanted(**wanted), on_stage=on_stage)
    return found.path


@pytest.fixture
def tiny_checkpoint(quick_checkpoint: Path) -> Path:
    """One that is exported quickly."""
    return quick_checkpoint


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "local_gpu", lambda: None)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that there is a GPU; what is built for it is real."""

    def pretend(sm: str = "sm89", flavours: tuple[str, ...] = ("rtx",)) -> None:
        for module in (on_demand, to_plan):
            monkeypatch.setattr(module, "local_gpu", lambda: sm)
        monkeypatch.setattr(to_plan, "_prove", lambda *arguments: (None, None))  # tested elsewhere
        monkeypatch.setattr(on_demand, "local_gpu_name", lambda: "NVIDIA L4")
        monkeypatch.setattr(cuda, "installed", lambda: True)
        monkeypatch.setattr(library, "installed", lambda: [*map(Flavour.of, flavours)])

    return pretend


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cache")
def test_on_a_cpu_a_checkpoint_becomes_fp32_onnx_for_floats_or_bytes(
    tiny_checkpoint: Path,
) -> None:
    floats = describe(artifact_for(tiny_checkpoint, tile=TILE))
    rounded = describe(artifact_for(tiny_checkpoint, tile=TILE, io="uint8"))
    assert (floats.precision, floats.io, floats.any_size) == ("fp32", "float", True)
    assert (rounded.precision, rounded.io, rounded.any_size) == ("fp32", "uint8", True)


@pytest.mark.slow
def test_without_a_tile_the_networks_window_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "twelve.pth"
    save_checkpoint(random_network(tiny_config(window_size=12)), checkpoint)
    monkeypatch.setattr(to_onnx, "default_tile", lambda window: (window, 2 * window))
    assert describe(artifact_for(checkpoint)).tile == (12, 24)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cache")
def test_what_lies_beside_a_checkpoint_makes_another_artifact(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    checkpoint = tmp_path / "mine.pth"
    checkpoint.write_bytes(tiny_checkpoint.read_bytes())
    without = describe(artifact_for(checkpoint, tile=TILE))
    (tmp_path / "config.json").write_text('{"conv_scale": 0.5}')
    with_alpha = describe(artifact_for(checkpoint, tile=TILE))
    assert (without.config["conv_scale"], with_alpha.config["conv_scale"]) == (1.0, 0.5)


@pytest.mark.slowest
@pytest.mark.usefixtures("shared_cache")
def test_the_ready_file_of_a_shipped_model_is_for_floats_on_a_cpu() -> None:
    shipped = zoo.find(zoo.DEFAULT)
    assert artifact_for(zoo.DEFAULT) == shipped.onnx
    rounded = artifact_for(zoo.DEFAULT, tile=TILE, io="uint8")
    assert describe(rounded).io == "uint8"
    assert describe(rounded).model == zoo.DEFAULT


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cache")
def test_what_a_checkpoint_does_not_store_reaches_the_artifact_and_its_name(
    shallow_checkpoint: Path, tiny_onnx: Path
) -> None:
    plain = artifact_for(shallow_checkpoint, tile=TILE)
    given = Unstored(conv_scale=0.5, img_range=2.0, qk_scale=0.9, shift=False)
    made = artifact_for(shallow_checkpoint, tile=TILE, unstored=given)
    assert made != plain
    assert given.given.items() <= describe(made).config.items()
    assert artifact_for(shallow_checkpoint, tile=TILE, unstored=given) == made
    with pytest.raises(UsageError, match=r"what --conv-scale, .*--no-shift decides was settled"):
        artifact_for(tiny_onnx, unstored=given)
    ready = zoo.find(zoo.DEFAULT).onnx
    published = Unstored(conv_scale=0.01, img_range=1.0, shift=True)
    assert artifact_for(zoo.DEFAULT, unstored=published) == ready


@pytest.mark.usefixtures("shared_cache")
def test_a_cached_entry_needs_no_torch(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = artifact_for(tiny_checkpoint, tile=TILE)
    for name in ("torch", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert artifact_for(tiny_checkpoint, tile=TILE) == made


def test_cuda_without_a_gpu_is_said_before_anything_is_made(
    no_gpu: None, tiny_checkpoint: Path
) -> None:
    with pytest.raises(UsageError, match="no NVIDIA GPU"):
        artifact_for(tiny_checkpoint, device="cuda")
    with pytest.raises(UsageError, match="no NVIDIA GPU"):
        artifact_for(zoo.DEFAULT, device="cuda")
    assert not cache.cache_folder().exists()


@pytest.mark.slow
def test_on_a_gpu_a_checkpoint_becomes_a_plan_once_and_again_if_damaged(
    gpu: Callable[..., None], tiny_checkpoint: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    gpu()
    stages: list[str] = []
    made = artifact_for(tiny_checkpoint, tile=TILE, device="cuda", on_stage=stages.append)
    described = describe(made)
    assert made.suffix == ".plan"
    assert (described.precision, described.targets, described.tile) == ("fp16", ("sm89",), TILE)
    assert stages[0] == ("building a plan for NVIDIA L4, once, for a full HAT about a minute")
    assert "building" in stages
    assert [path.suffix for path in cache.cache_folder().iterdir()] == [".plan"]
    stages.clear()
    assert artifact_for(tiny_checkpoint, tile=TILE, device="cuda") == made
    assert not stages
    made.write_bytes(made.read_bytes()[:-1])
    again = artifact_for(tiny_checkpoint, tile=TILE, device="cuda")
    assert describe(again).precision == "fp16"


def test_a_precision_that_is_asked_for_is_the_only_one(
    gpu: Callable[..., None], tiny_checkpoint: Path
) -> None:
    gpu()
    for asked, made in ((None, ("fp16", "fp32")), ("fp32", ("fp32",))):
        wanted = Wanted(tile=TILE, device="cuda", precision=asked)
        export = on_demand.to_be_made(resolve(tiny_checkpoint), wanted)
        assert export is not None and export.precisions == made


@pytest.mark.slow
def test_without_a_tensorrt_that_can_a_gpu_gets_onnx_in_half(
    gpu: Callable[..., None], tiny_checkpoint: Path
) -> None:
    gpu("sm90")
    stages: list[str] = []
    made = artifact_for(tiny_checkpoint, tile=TILE, device="cuda", on_stage=stages.append)
    assert (made.suffix, describe(made).precision) == (".onnx", "fp16")
    assert stages[0] == "TensorRT for RTX does not build for this GPU, sm90"


def test_a_tensorrt_that_does_not_load_is_said_and_passed_over(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu(flavours=("tensorrt", "rtx"))

    class Loaded:
        version = "1.7.1"

    def load(flavour: str) -> object:
        if flavour == "tensorrt":
            raise ArtifactError("tensorrt is installed but does not load: no libnvinfer")
        return Loaded

    monkeypatch.setattr(library, "load", load)
    stages: list[str] = []
    target = on_demand.plan_target(stages.append)
    assert target == PlanTarget(flavour="rtx", version="1.7.1", sm="sm89", gpu="NVIDIA L4")
    assert stages == ["tensorrt is installed but does not load: no libnvinfer"]


def test_a_plan_is_for_gpus_of_one_compute_capability(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path
) -> None:
    gpu()
    found = {0: "sm89", 1: "sm89", 2: "sm90"}
    monkeypatch.setattr(on_demand, "local_gpu", lambda number=0: found[number])
    monkeypatch.setattr(on_demand, "local_gpu_name", lambda number=0: f"GPU {number}")
    for gpus in (1, 2):
        assert on_demand.to_be_made(resolve(tiny_checkpoint), Wanted(device="cuda", gpus=gpus))
    with pytest.raises(UsageError, match=r"of one compute capability.*GPU 2 \(sm90\)"):
        on_demand.to_be_made(resolve(tiny_checkpoint), Wanted(device="cuda", gpus=3))


def test_nothing_to_call_cuda_with_is_no_target(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu()
    monkeypatch.setattr(cuda, "installed", lambda: False)
    assert on_demand.plan_target() is None


def to_make(path: Path, *, name: str = "x", **changes: object) -> OnDemandExport:
    values = {
        "checkpoint": Checkpoint(path, name),
        "tile": TILE,
        "batch": 1,
        "io": "float",
        "precisions": ("fp16", "fp32"),
        "target": PlanTarget(flavour="rtx", version="1.7.1", sm="sm89", gpu="NVIDIA L4"),
    }
    return OnDemandExport(**values | changes)


def test_everything_the_content_depends_on_is_in_the_key(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    other = tmp_path / "tiny.pth"
    save_checkpoint(random_network(tiny_config(), seed=1), other)

    def target(**changes: str) -> PlanTarget:
        values = {"flavour": "rtx", "version": "1.7.1", "sm": "sm89", "gpu": "NVIDIA L4"}
        return PlanTarget(**values | changes)

    exports = [
        to_make(tiny_checkpoint),
        to_make(other),
        to_make(tiny_checkpoint, name="y"),
        to_make(tiny_checkpoint, tile=None),
        to_make(tiny_checkpoint, batch=2),
        to_make(tiny_checkpoint, io="uint8"),
        to_make(tiny_checkpoint, precisions=("fp32",)),
        to_make(tiny_checkpoint, target=None),
        *(
            to_make(tiny_checkpoint, unstored=Unstored(**given))
            for given in (
                {"conv_scale": 0.5},
                {"img_range": 0.5},
                {"qk_scale": 0.5},
                {"shift": False},
                {"shift": True},
            )
        ),
        to_make(tiny_checkpoint, target=target(flavour="tensorrt")),
        to_make(tiny_checkpoint, target=target(version="1.8.0")),
        to_make(tiny_checkpoint, target=target(sm="sm120")),
        to_make(tiny_checkpoint, target=target(gpu="NVIDIA L40")),
    ]
    keys = {str(each.made_from) for each in exports}
    assert len(keys) == len(exports)
    assert str(to_make(tiny_checkpoint).made_from) in keys


@pytest.mark.slow
def test_a_precision_that_fails_its_proof_gives_way_to_the_next(tmp_path: Path) -> None:
    network = random_network(tiny_config())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("attn.qkv.weight"):
                parameter.mul_(1e6)  # scores beyond what half can hold
    checkpoint = tmp_path / "loud.pth"
    save_checkpoint(network, checkpoint)
    stages: list[str] = []
    loud = to_make(checkpoint, target=None, precisions=("fp16-pure", "fp32"))
    loud.make(tmp_path / "x.onnx", stages.append)
    assert describe(tmp_path / "x.onnx").precision == "fp32"
    assert any(stage.startswith("fp16-pure cannot be used (") for stage in stages)
    with pytest.raises(CheckFailed):
        to_make(checkpoint, target=None, precisions=("fp16-pure",)).make(
            tmp_path / "y.onnx", stages.append
        )


def test_rtx_refuses_a_gpu_it_does_not_build_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_plan, "local_gpu", lambda: "sm90")
    with pytest.raises(UsageError, match="does not build for this machine's GPU, sm90"):
        to_plan.choose(to_plan.BuildOptions(flavour="rtx"))
