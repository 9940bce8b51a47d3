"""Plans that this machine cannot run: one sentence each. Real plans, by the real builder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from simulated import plan_file
from typer.testing import CliRunner

from hat_deploy import cli, errors
from hat_deploy.artifact import describe
from hat_deploy.engines import open_artifact
from hat_deploy.engines.cuda import driver
from hat_deploy.engines.cuda.base import GPU
from hat_deploy.engines.tensorrt import fit, library
from hat_deploy.engines.tensorrt.errors import TensorRTError
from hat_deploy.errors import ArtifactError, HatDeployError, MissingExtraError, UsageError
from hat_deploy.export import to_plan
from hat_deploy.export.to_plan import BuildOptions

needs_rtx = pytest.mark.skipif(
    "rtx" not in library.installed(), reason="TensorRT for RTX is not installed"
)
needs_no_gpu = pytest.mark.skipif(driver.local_gpu() is not None, reason="this machine has a GPU")
L4 = GPU("NVIDIA L4", "sm89")


@pytest.fixture(scope="module")
def plan(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real plan of TensorRT for RTX."""
    pytest.importorskip("tensorrt_rtx_bindings")
    path = tmp_path_factory.mktemp("plan") / "tiny.plan"
    to_plan.build(tiny_onnx, path, BuildOptions(gpus=("sm89",)))
    return path


def patched(plan: Path, target: Path, before: str, after: str) -> Path:
    """The same plan with another description of the same length."""
    content = plan.read_bytes()
    assert len(before) == len(after)
    assert content.count(before.encode()) >= 1
    target.write_bytes(content.replace(before.encode(), after.encode()))
    return target


def refusal(path: Path) -> str:
    with pytest.raises(HatDeployError) as error:
        open_artifact(path)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


@needs_rtx
@needs_no_gpu
def test_without_a_gpu(plan: Path) -> None:
    with pytest.raises(UsageError, match=r"tiny\.plan needs an NVIDIA GPU and its driver"):
        open_artifact(plan)


@needs_rtx
@needs_no_gpu
def test_the_real_library_says_why_it_cannot_load(plan: Path) -> None:
    with pytest.raises(TensorRTError, match=r"TensorRT for RTX .* cannot load .*cudaError") as e:
        library.load("rtx").open(plan)
    assert not e.value.out_of_memory
    assert "\n" not in str(e.value)


@needs_rtx
def test_the_real_library_says_what_is_no_plan(plan: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "x.plan"
    foreign.write_bytes(b"\x89PNG" * 100)
    with pytest.raises(TensorRTError, match="magicTag"):
        library.load("rtx").open(foreign)
    cut = tmp_path / "cut.plan"
    cut.write_bytes(plan.read_bytes()[:-100])
    with pytest.raises(TensorRTError, match=r"header\.size == blobSize"):
        library.load("rtx").open(cut)


@needs_rtx
def test_another_version(plan: Path, tmp_path: Path) -> None:
    version = describe(plan).versions["rtx"]
    older = patched(plan, tmp_path / "x.plan", f'"rtx":"{version}', f'"rtx":"0{version[1:]}')
    said = refusal(older)
    assert f"by TensorRT for RTX 0{version[1:]}, and {version} is installed" in said
    assert "hat-deploy export CHECKPOINT -o x.plan --tile 24x16 --batch 2" in said


def test_builds_of_one_release_are_left_to_the_library(tiny_onnx: Path) -> None:
    described = replace(describe(tiny_onnx), versions={"rtx": "1.7.1.116"})
    fit.require_version(Path("x.plan"), described, "rtx", "1.7.1.200")
    with pytest.raises(ArtifactError, match=r"1\.7\.1\.116, and 1\.7\.2\.1 is installed"):
        fit.require_version(Path("x.plan"), described, "rtx", "1.7.2.1")


@needs_rtx
@pytest.mark.skipif("tensorrt" in library.installed(), reason="both are installed")
def test_the_other_flavour(tiny_onnx: Path, tmp_path: Path) -> None:
    described = replace(describe(tiny_onnx), versions={"tensorrt": "10.13.0"})
    said = refusal(plan_file(tmp_path / "x.plan", described.to_json()))
    assert "x.plan was built by TensorRT 10.13.0, and only TensorRT for RTX is installed" in said
    assert "--flavour rtx" in said


def test_both_flavours_absent_names_the_extra(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    monkeypatch.setattr(library, "load", library.load.__wrapped__)
    for flavour, extra, begins in (("tensorrt", "gpu", b"ftrt"), ("rtx", "rtx", b"vtrt")):
        described = replace(describe(tiny_onnx), versions={flavour: "1.2.3"})
        path = plan_file(tmp_path / "x.plan", described.to_json(), begins=begins)
        with pytest.raises(MissingExtraError, match=rf"\.\[{extra}\]"):
            open_artifact(path)


@pytest.mark.parametrize(
    ("begins", "versions"),
    [(b"vtrt", {"tensorrt": "10.13.0"}), (b"\x89PNG", {"rtx": "1.7.1"}), (b"vtrt", {})],
    ids=str,
)
def test_a_plan_that_contradicts_itself(
    tiny_onnx: Path, tmp_path: Path, begins: bytes, versions: dict[str, str]
) -> None:
    described = replace(describe(tiny_onnx), versions=versions)
    path = plan_file(tmp_path / "x.plan", described.to_json(), begins=begins)
    assert "x.plan begins like" in refusal(path)


def test_another_gpu(tiny_onnx: Path) -> None:
    described = replace(describe(tiny_onnx), targets=("sm86", "sm120"), versions={"rtx": "1"})
    with pytest.raises(ArtifactError) as error:
        fit.require_gpu(Path("x.plan"), described, "rtx", L4)
    said = str(error.value)
    assert "was built for sm86, sm120, and this machine has an NVIDIA L4, which is sm89" in said
    assert said.endswith("--flavour rtx --gpu sm89")
    fit.require_gpu(Path("x.plan"), replace(described, targets=("sm89",)), "rtx", L4)


def test_tensorrt_builds_for_the_gpu_that_is_there(tiny_onnx: Path) -> None:
    described = replace(describe(tiny_onnx), targets=("sm90",), versions={"tensorrt": "10.1.0"})
    with pytest.raises(ArtifactError, match=r"--flavour tensorrt$"):
        fit.require_gpu(Path("x.plan"), described, "tensorrt", L4)


@needs_rtx
@needs_no_gpu
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content, "needs an NVIDIA GPU"),
        (lambda content: content[:-1], "truncated"),
        (lambda content: b"", "is empty"),
        (lambda content: b"\x89PNG" * 50, "does not describe itself"),
        (lambda content: content.replace(b'"config":', b'"config";'), "damaged description"),
    ],
    ids=["no GPU", "truncated", "empty", "foreign", "damaged"],
)
def test_the_command_says_it_in_one_sentence(
    plan: Path, tmp_path: Path, damage: object, says: str
) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(damage(plan.read_bytes()))
    (tmp_path / "in").mkdir()
    result = CliRunner().invoke(cli.app, ["upscale", str(tmp_path / "in"), "--engine", str(path)])
    assert isinstance(result.exception, HatDeployError)
    assert result.exception.exit_code == 2
    assert says in str(result.exception)


@needs_rtx
@needs_no_gpu
def test_the_program_exits_with_2(plan: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    arguments = ["hat-deploy", "upscale", str(plan.parent), "--engine", str(plan)]
    monkeypatch.setattr(cli.sys, "argv", arguments)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: Running ")
    assert "has none" in line
