from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import interrupts
import onnx
import pytest
from tiny import random_network, tiny_config
from typer.testing import CliRunner

from hat_deploy import artifact, cli, errors
from hat_deploy.artifact import METADATA_KEY, describe
from hat_deploy.errors import ArtifactError, MissingExtraError, UsageError
from hat_deploy.export import to_plan
from hat_deploy.export.to_onnx import ExportOptions, write
from hat_deploy.export.to_onnx import describe as describe_export
from hat_deploy.export.to_plan import BuildOptions, BuildReport
from hat_deploy.networks.hat.config import HATConfig

pytest.importorskip("tensorrt_rtx_bindings")

ADA = BuildOptions(gpus=("sm89",))
ONE_GROUP = {"depths": (2,), "num_heads": 6}


def export(config: HATConfig, path: Path, side: int, **options: object) -> Path:
    """An ONNX file of a random network, unproved: proofs are tested elsewhere."""
    network = random_network(config)
    chosen = ExportOptions(**{"tile": (side, side)} | options)
    write(network, path, describe_export(network, chosen, model="m", checkpoint_sha256=""))
    return path


def resave(source: Path, target: Path, change: object) -> Path:
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


@pytest.fixture
def tiny_checkpoint(shallow_checkpoint: Path) -> Path:
    """One that is exported in half the time."""
    return shallow_checkpoint


@pytest.fixture(scope="module")
def report(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    return to_plan.build(tiny_onnx, tmp_path_factory.mktemp("plan") / "tiny.plan", ADA)


def test_a_plan_describes_itself(report: BuildReport, tiny_onnx: Path) -> None:
    made, source = describe(report.path), describe(tiny_onnx)
    assert made == report.description
    assert made.targets == ("sm89",)
    assert made.versions["rtx"].count(".") >= 2
    assert replace(made, targets=(), versions=source.versions) == source
    assert report.bytes == report.path.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"precision": "fp16", "io": "uint8"}, {"precision": "bf16"}])
def test_an_exact_artifact_builds(tmp_path: Path, options: dict[str, str]) -> None:
    source = export(tiny_config(depths=(1,)), tmp_path / "x.onnx", 16, exact=True, **options)
    made = to_plan.build(source, tmp_path / "x.plan", ADA)
    assert made.description.averages == (1, 12)
    assert describe(made.path) == made.description


@pytest.mark.slow
def test_what_is_being_done_is_told(tiny_onnx: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    both = BuildOptions(gpus=("sm89", "sm120"), flavour="rtx")
    made = to_plan.build(tiny_onnx, tmp_path / "x.plan", both, on_stage=stages.append)
    assert {"reading the ONNX file", "building", "writing the plan"} <= set(stages)
    assert made.description.targets == ("sm89", "sm120")
    assert [path.name for path in tmp_path.iterdir()] == ["x.plan"]


@pytest.mark.slow
def test_a_plan_of_an_open_graph_has_the_graphs_tile(tmp_path: Path) -> None:
    source = export(tiny_config(depths=(1,)), tmp_path / "x.onnx", 16, any_size=True)
    made = to_plan.build(source, tmp_path / "x.plan", ADA).description
    assert made.tile == (16, 16)
    assert not made.any_size


@pytest.mark.parametrize("length", [0, 3, 20, 1000, -1000, -1])
def test_a_truncated_plan_is_refused(report: BuildReport, tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.plan"
    path.write_bytes(report.path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=r"cut\.plan (is empty|holds|does not describe)"):
        describe(path)


def test_damaged_and_foreign_plans_are_refused(report: BuildReport, tmp_path: Path) -> None:
    path = tmp_path / "x.plan"
    content = report.path.read_bytes()
    path.write_bytes(content.replace(b'"config":', b'"config";'))
    with pytest.raises(ArtifactError, match="damaged description"):
        describe(path)
    path.write_bytes(content.replace(artifact.PLAN_MARKER.encode(), b"someone---:"))
    with pytest.raises(ArtifactError, match="does not describe itself"):
        describe(path)
    path.write_bytes(b"\x89PNG" * 100)
    with pytest.raises(ArtifactError, match="does not describe itself"):
        describe(path)


def test_an_onnx_file_from_elsewhere_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    foreign = resave(tiny_onnx, tmp_path / "x.onnx", lambda m: m.metadata_props.pop())
    with pytest.raises(ArtifactError, match="was not made by 'hat-deploy export'"):
        to_plan.build(foreign, tmp_path / "x.plan", ADA)


def test_what_tensorrt_refuses_names_the_node(tiny_onnx: Path, tmp_path: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Softmax")
        node.op_type, node.domain, node.name = "Frobnicate", "elsewhere", "the_culprit"
        model.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))

    source = resave(tiny_onnx, tmp_path / "x.onnx", rename)
    with pytest.raises(ArtifactError, match=r"x\.onnx: node 'the_culprit' \(Frobnicate\)") as error:
        to_plan.build(source, tmp_path / "x.plan", ADA)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x.plan").exists()


def test_a_damaged_onnx_file_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    source = tmp_path / "x.onnx"
    source.write_bytes(tiny_onnx.read_bytes()[:-100])
    with pytest.raises(ArtifactError):
        to_plan.build(source, tmp_path / "x.plan", ADA)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_a_description_too_long_for_a_plan_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    def lengthen(model: onnx.ModelProto) -> None:
        versions = {f"library {number}": "1" * 200 for number in range(20)}
        described = replace(describe(tiny_onnx), versions=versions)
        assert model.metadata_props[0].key == METADATA_KEY
        model.metadata_props[0].value = described.to_json()

    source = resave(tiny_onnx, tmp_path / "x.onnx", lengthen)
    with pytest.raises(ArtifactError, match="the plan's description takes"):
        to_plan.build(source, tmp_path / "x.plan", ADA)


def test_a_builder_that_dies_is_one_readable_error(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_plan.sys, "executable", "/bin/false")
    with pytest.raises(ArtifactError, match="ended with status 1"):
        to_plan.build(tiny_onnx, tmp_path / "x.plan", ADA)
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_the_targets_are_listed(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_plan, "local_gpu", lambda: None)
    with pytest.raises(UsageError, match=r"--gpu.*sm75,sm80,sm86,sm89,sm120,sm121"):
        to_plan.build(tiny_onnx, tmp_path / "x.plan")


@pytest.mark.parametrize(
    ("options", "says"),
    [({"gpus": ("sm90",)}, "sm90: use sm75"), ({"flavour": "tensorflow"}, "tensorrt, rtx")],
)
def test_options_that_make_no_sense(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        BuildOptions(**options)


def test_the_flavour_is_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"tensorrt"}
    monkeypatch.setattr(errors, "find_spec", lambda name: name if name in there else None)
    monkeypatch.setattr(to_plan, "local_gpu", lambda: "sm90")
    assert to_plan.choose(BuildOptions()) == ("tensorrt", "tensorrt", ("sm90",))
    with pytest.raises(MissingExtraError, match=r"\.\[rtx\]"):
        to_plan.choose(ADA)
    with pytest.raises(UsageError, match="--flavour rtx"):
        to_plan.choose(BuildOptions(gpus=("sm89",), flavour="tensorrt"))
    there = {"tensorrt", "tensorrt_rtx"}
    assert to_plan.choose(ADA) == ("rtx", "tensorrt_rtx", ("sm89",))
    assert to_plan.choose(BuildOptions())[0] == "tensorrt"


@pytest.mark.slow
def test_the_command_builds_from_an_onnx_file(tiny_onnx: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.plan"
    result = CliRunner().invoke(
        cli.app, ["export", str(tiny_onnx), "-o", str(target), "--gpu", "sm89"]
    )
    assert result.exit_code == 0, result.output
    assert "built, not run" in result.output
    assert describe(target).precision == "fp32"


@pytest.mark.slow
def test_the_command_builds_from_a_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["--gpu", "sm89,sm120", "--tile", "8", "--io", "uint8"]
    target = tmp_path / "x.plan"
    result = CliRunner().invoke(
        cli.app, ["export", str(tiny_checkpoint), "-o", str(target), *arguments]
    )
    assert result.exit_code == 0, result.output
    described = describe(target)
    assert (described.precision, described.io, described.tile) == ("fp16", "uint8", (8, 8))
    assert described.made_for == "tensorrt"
    assert [path.name for path in tmp_path.iterdir()] == ["x.plan"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_an_interrupt_ends_a_build_within_a_second_and_leaves_nothing(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    """In one of three tries: a machine that is busy with other things only adds to the time."""
    assert any(seconds_to_end_a_build(tiny_onnx, tmp_path) < 1 for _ in range(3))


def seconds_to_end_a_build(tiny_onnx: Path, tmp_path: Path) -> float:
    script = (
        "import sys; from pathlib import Path; from hat_deploy.export.to_plan import *\n"
        "build(Path(sys.argv[1]), Path(sys.argv[2]), BuildOptions(gpus=('sm89',)),"
        " on_stage=lambda stage: print(stage, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, tiny_onnx, tmp_path / "x.plan"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(to_plan.__file__).parents[2])},
        text=True,
        preexec_fn=interrupts.default,
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "building":
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    interrupted = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=300)
    seconds = time.monotonic() - interrupted
    assert "KeyboardInterrupt" in complaint
    assert not any(Path("/proc", child).exists() for child in children)
    assert list(tmp_path.iterdir()) == []
    return seconds


def published(**changes: object) -> HATConfig:
    return HATConfig.published(4, **(ONE_GROUP | changes))


NARROW = {"embed_dim": 144, "compress_ratio": 24, "squeeze_factor": 24}


@pytest.mark.parametrize(
    ("precision", "variant", "made_for"),
    [
        pytest.param("fp16", {}, "any", marks=pytest.mark.slowest),
        pytest.param("fp16", {}, "tensorrt", marks=pytest.mark.slow),
        pytest.param("fp16", NARROW, "tensorrt", marks=pytest.mark.slowest),
        pytest.param("bf16", {}, "tensorrt", marks=pytest.mark.slowest),
        pytest.param("bf16", NARROW, "any", marks=pytest.mark.slowest),
    ],
)
def test_every_attention_is_fused(
    tmp_path: Path, precision: str, variant: dict[str, int], made_for: str
) -> None:
    options = {"precision": precision, "made_for": made_for}
    source = export(published(**variant), tmp_path / "x.onnx", 48, **options)
    made = to_plan.build(source, tmp_path / "x.plan", ADA)
    assert made.programs is not None
    # A plain block, a shifted one (else in four kinds of window), and OCAB.
    expected = 3 if made_for == "tensorrt" else 1 + 4 + 1
    assert [program.fused_attentions for program in made.programs] == [expected]


@pytest.mark.slow
def test_the_spelling_for_tensorrt_launches_and_moves_less(tmp_path: Path) -> None:
    programs, sizes = {}, {}
    for made_for in ("any", "tensorrt"):
        source = export(published(), tmp_path / "x.onnx", 64, precision="fp16", made_for=made_for)
        sizes[made_for] = source.stat().st_size
        (programs[made_for],) = to_plan.build(source, tmp_path / "x.plan", ADA).programs or ()
    assert sizes["tensorrt"] <= sizes["any"]
    assert programs["tensorrt"].launches <= 50
    assert programs["tensorrt"].bytes < 0.93 * programs["any"].bytes


@pytest.mark.slow
def test_a_plan_does_not_grow_with_the_tile(tmp_path: Path) -> None:
    sizes = []
    for side in (64, 192):
        source = export(published(), tmp_path / "x.onnx", side, precision="fp16")
        sizes.append(to_plan.build(source, tmp_path / "x.plan", ADA).bytes)
    assert sizes[1] <= 1.3 * sizes[0]


@pytest.mark.slow
def test_tiles_nobody_listed(tmp_path: Path) -> None:
    config = tiny_config(3)
    source = export(config, tmp_path / "x.onnx", 0, tile=(12, 28), batch=4, precision="fp16")
    made = to_plan.build(source, tmp_path / "x.plan", ADA)
    assert (made.description.tile, made.description.batch) == ((12, 28), 4)
