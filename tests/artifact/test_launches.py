from __future__ import annotations

from pathlib import Path

import pytest

from hat_deploy.artifact import gpus, info
from hat_deploy.artifact.info import ArtifactInfo
from hat_deploy.artifact.launches import Kernels, Program, read_programs
from hat_deploy.errors import ArtifactError
from hat_deploy.export import to_plan
from hat_deploy.export.to_plan import BuildOptions

HEADER = """header {
  version = 5
  region = { name=devmem size=4096 alignment=128 instance=0 type=user place=accelerator }
  accelerators={sm89 }
}
descriptors {

"""
TENSORS = """  tensor={ alignment=128 dims={ 1 3 8 8 } name="in" strides={ 192 1 24 3 } type=float }
  tensor={ alignment=128 dims={ 4 5 } name="w" rank0=0 strides={ 5 1 } type=half }
  tensor={ alignment=128 dims={ 10 } name="out" rank0=0 strides={ 1 } type=uint8 }
  sub_tensor={ base="in" dims={ 1 3 4 } name="view" offset=0 strides={ 12 1 3 } type=float }
}
"""
MAIN = """main {
 label bb1:
  function={ name=__myl_Add input_args={ "in" "w" } output_args={ "out" } kernel_kind=1 }
  function={ name=__myl_Mean input_args={ "in" } output_args={ "out" } kernel_kind=2 }
  signal={ name="s" stream=0 event=1 layers="" }
  corrltn={ name="conv" output={"out" } input={"view" "w" } scratchspace={"s" } stream=0 }
  runtime_fusion={ name=__myl_FcAdd input_args={ "w" } output_args={ "out" } backbone=gemm }
  function={ name=_gemm_mha_v2 input_args={ "in" "in" "in" } output_args={ "out" } kernel_kind=7 }
}
shape_main {
}
"""
WHOLE = HEADER + TENSORS + MAIN


def written(path: Path, text: str) -> Path:
    path.write_bytes(b"vtrt\0\0" + text.encode("latin-1") + b"\0rest")
    return path


@pytest.fixture(scope="module")
def plan(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real one, for two GPUs."""
    pytest.importorskip("tensorrt_rtx_bindings")
    both = BuildOptions(gpus=("sm89", "sm120"), flavour="rtx")
    return to_plan.build(tiny_onnx, tmp_path_factory.mktemp("plan") / "x.plan", both).path


def test_every_launch_is_counted_with_its_arguments(tmp_path: Path) -> None:
    assert read_programs(written(tmp_path / "x.plan", WHOLE)) == (
        Program(
            targets=("sm89",),
            scratch=4096,
            kernels=(
                Kernels("fused attention", 1, 3 * 768 + 10),
                Kernels("copy or element-wise", 1, 768 + 40 + 10),
                Kernels("norm or average", 1, 768 + 10),
                Kernels("convolution", 1, 48 + 40 + 10),
                Kernels("matrix product", 1, 40 + 10),
            ),
        ),
    )


def test_a_real_plan_has_a_program(plan: Path) -> None:
    (program,) = read_programs(plan) or ()
    assert program.targets == ("sm89", "sm120")
    # Four HABs and two OCABs: two products around each attention, two in each MLP.
    products = sum(k.launches for k in program.kernels if k.kind == "matrix product")
    assert products >= 6 * 4
    assert 60 < program.launches < 200
    assert program.scratch > 0
    assert program.bytes > 1e6


def test_info_tells_what_a_plan_will_do(plan: Path) -> None:
    found = info.examine(str(plan))
    assert isinstance(found, ArtifactInfo)
    text = "\n".join(info.lines(found))
    assert "kernels a call on sm89, sm120" in text
    assert "estimate    of a call, by bandwidth and peak alone: " in text
    assert "RTX 4090" in text
    assert "RTX 5090" in text
    (first,) = found.to_dict()["programs"]
    assert first["launches"] == sum(kernels["launches"] for kernels in first["kernels"])
    assert first["flop_per_byte"] == found.flop / first["bytes"]


def test_the_estimate_is_what_bandwidth_and_peak_allow() -> None:
    card = gpus.GPU("a card", "sm89", bandwidth=1000, half=100, single=50)
    program = Program(("sm89",), 0, (Kernels("other", 1, 10**9),))
    assert card.seconds(program, 1e9, "fp16") == pytest.approx(1e-3)
    assert card.seconds(program, 1e12, "fp16") == pytest.approx(10e-3)
    assert card.seconds(program, 1e12, "fp32") == pytest.approx(20e-3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "header {\n  version = ",
        HEADER,
        HEADER + TENSORS,
        WHOLE[: WHOLE.index("shape_main") - 3],
        WHOLE.replace("  accelerators={sm89 }\n", ""),
        WHOLE.replace("sm89", "sm89; rm"),
        WHOLE.replace("size=4096", "size=-1"),
        WHOLE.replace("type=half", "type=quarter"),
        WHOLE.replace("dims={ 4 5 }", "dims={ 4 -5 }"),
        WHOLE.replace("dims={ 4 5 }", f"dims={{ {'9' * 5000} }}"),
        WHOLE.replace("dims={ 4 5 }", f"dims={{ {'1 ' * 100}}}"),
        WHOLE.replace('{"view"', '{"another"'),
        HEADER + TENSORS + "main {\n}\n",
        HEADER + TENSORS + "main {\n  function={ name=x input_args={ } }\n}\n",
    ],
)
def test_what_is_not_as_expected_is_unknown(tmp_path: Path, text: str) -> None:
    assert read_programs(written(tmp_path / "x.plan", text)) is None


def test_damage_anywhere_raises_nothing(plan: Path, tmp_path: Path) -> None:
    content = plan.read_bytes()
    start = content.index(b"header {")
    path = tmp_path / "x.plan"
    for step in range(0, 60_000, 2_000):
        path.write_bytes(content[: start + step])
        read_programs(path)
        path.write_bytes(content[: start + step] + b"{}\n" + content[start + step + 3 :])
        read_programs(path)


@pytest.mark.parametrize(
    "piece",
    [
        "header {\n  version = ",
        "header {\n  version = \n  accelerators={sm",
        HEADER + 'main {\n  a={ input_args={ "in',
        " input_args={",
        ' name="',
    ],
)
def test_a_hostile_file_takes_no_long_time(tmp_path: Path, piece: str) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(WHOLE[:-20].encode() + piece.encode() * (4_000_000 // len(piece)))
    read_programs(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.plan").touch()
    with pytest.raises(ArtifactError, match="is empty"):
        read_programs(tmp_path / "x.plan")
