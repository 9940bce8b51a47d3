from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny import random_network, tiny_config

from hat_deploy import cli, images
from hat_deploy.errors import UsageError
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.images import samples
from hat_deploy.images.samples import Sample
from hat_deploy.networks.hat.network import HAT
from hat_deploy.reports import charts
from hat_deploy.verify import layers

TILE = (16, 16)
MODULES = [
    "conv_first",
    "patch_embed",
    "layers.0.residual_group.blocks.0",
    "layers.0.residual_group.blocks.1",
    "layers.0.residual_group.overlap_attn",
    "layers.0",
    "layers.1.residual_group.blocks.0",
    "layers.1.residual_group.blocks.1",
    "layers.1.residual_group.overlap_attn",
    "layers.1",
    "norm",
    "conv_after_body",
    "conv_before_upsample",
    "output",
]

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def sample() -> Sample:
    return samples.read(Path(samples.__file__).parent / "pictures" / "astronaut.png", 3)


@pytest.fixture(scope="module")
def written(exported: Callable[..., ExportReport]) -> Write:
    """Writes a network as ONNX; the same one only once."""

    def write(network: HAT, **options: object) -> Path:
        return exported(network, **{"tile": TILE} | options).path

    return write


def damaged(source: Path, target: Path, name: str, by: float) -> Path:
    """Another value in the middle of a constant."""
    model = onnx.load(source)
    tensor = next(c for c in model.graph.initializer if c.name.endswith(name))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[values.size // 2] += by
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, target)
    return target


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "io", "batch"),
    [("fp32", "float", 2), ("fp32", "uint8", 1), ("fp16", "float", 1), ("fp16-pure", "uint8", 1)],
)
def test_an_ordinary_artifact_has_no_offender(
    tiny_network: HAT, written: Write, sample: Sample, precision: str, io: str, batch: int
) -> None:
    path = written(tiny_network, precision=precision, io=io, batch=batch)
    report = layers.compare_blocks(path, tiny_network, sample)
    assert report.offender is None
    assert [block.block for block in report.blocks] == MODULES
    kinds = [block.kind for block in report.blocks]
    assert kinds[2:6] == ["HAB", "HAB", "OCAB", "RHAG"]
    assert kinds[-1] == ("bytes" if io == "uint8" else "output")
    assert all(block.peak > 0 for block in report.blocks)
    assert all(block.psnr > 60 for block in report.blocks[:-1])
    assert report.blocks[3].relative > 0
    assert "no block stands out" in report.summary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("constant", "offender"),
    [
        ("conv_first.weight", "conv_first"),
        ("patch_embed.norm.bias", "patch_embed"),
        ("layers.0.residual_group.blocks.0.attn.proj.bias", "layers.0.residual_group.blocks.0"),
        ("layers.0.residual_group.blocks.1.mlp.fc2.bias", "layers.0.residual_group.blocks.1"),
        (
            "layers.0.residual_group.overlap_attn.mlp.fc2.bias",
            "layers.0.residual_group.overlap_attn",
        ),
        ("layers.0.conv.weight", "layers.0"),
        ("layers.1.residual_group.blocks.0.norm1.weight", "layers.1.residual_group.blocks.0"),
        ("network.norm.weight", "norm"),
        ("conv_after_body.bias", "conv_after_body"),
        ("conv_before_upsample.0.bias", "conv_before_upsample"),
        ("conv_last.bias", "output"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_damaged_block_is_named(
    tiny_network: HAT,
    written: Write,
    sample: Sample,
    tmp_path: Path,
    precision: str,
    constant: str,
    offender: str,
) -> None:
    sound = written(tiny_network, precision=precision)
    broken = damaged(sound, tmp_path / "x.onnx", constant, 0.2)
    found = layers.compare_blocks(broken, tiny_network, sample)
    assert found.offender is not None
    assert found.offender.block == offender
    assert offender in found.summary
    assert found.to_dict()["offender"] == offender


def test_values_that_are_not_finite_name_the_block_they_come_from(
    tiny_network: HAT, written: Write, sample: Sample, tmp_path: Path
) -> None:
    name = "layers.1.residual_group.blocks.1.mlp.fc2.bias"
    broken = damaged(written(tiny_network), tmp_path / "x.onnx", name, math.nan)
    found = layers.compare_blocks(broken, tiny_network, sample)
    assert found.offender is not None
    assert found.offender.block == "layers.1.residual_group.blocks.1"
    assert "not finite" in found.summary
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["blocks"][7]["relative"] is None
    assert "first offender" in charts.layers_svg(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"scale": 1},
        {"scale": 3},
        {"scale": 4},
        {"ocab": False},
        {"cab": False},
        {"in_channels": 1},
    ],
    ids=str,
)
def test_every_shape_of_network_can_be_looked_into(
    written: Write, sample: Sample, changes: dict[str, object]
) -> None:
    network = random_network(tiny_config(**{"scale": 2} | changes))
    path = written(network)
    gray = Sample(name="gray", pixels=sample.pixels[..., :1].copy())
    chosen = gray if changes.get("in_channels") == 1 else sample
    report = layers.compare_blocks(path, network, chosen)
    assert report.offender is None
    assert max(block.relative for block in report.blocks) < 4e-6


@pytest.mark.slow
def test_equal_constants_are_no_obstacle(written: Write, sample: Sample) -> None:
    """As in a network before training: all LayerNorms alike, stored once under one name."""
    network = HAT(tiny_config()).freeze()
    path = written(network)
    names = [c.name for c in onnx.load(path).graph.initializer if c.name.endswith("norm1.weight")]
    assert len(names) < 6
    assert layers.compare_blocks(path, network, sample).offender is None


def test_relative_error_and_psnr_are_in_the_range_of_the_reference() -> None:
    reference = np.full((1, 4, 4), 10.0, np.float32)
    found = layers._difference("x", "HAB", reference, reference + np.float32(0.1))
    assert found.relative == pytest.approx(0.01, rel=1e-3)
    assert found.psnr == pytest.approx(40, abs=0.01)
    assert layers._difference("x", "HAB", reference, reference).psnr == math.inf


@pytest.mark.slow
def test_a_graph_of_another_form_is_refused(
    tiny_network: HAT, written: Write, sample: Sample
) -> None:
    other = random_network(tiny_config(depths=(1, 2)))
    with pytest.raises(UsageError, match="not of the form"):
        layers.compare_blocks(written(tiny_network), other, sample)
    with pytest.raises(UsageError, match="no bf16"):
        layers.compare_blocks(written(tiny_network, precision="bf16"), tiny_network, sample)


def test_the_command_prints_the_table_and_names_the_offender(
    tiny_onnx: Path,
    tiny_checkpoint: Path,
    sample: Sample,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "layers.1.residual_group.blocks.0.mlp.fc2.bias"
    broken = damaged(tiny_onnx, tmp_path / "x.onnx", name, 0.1)
    picture = tmp_path / "small.png"
    images.write(images.Picture(pixels=sample.pixels[30:60, 40:70].copy()), picture)
    arguments = ["hat-deploy", "verify", "--engine", broken, "--reference", tiny_checkpoint]
    arguments += [picture, "--no-whole", "--layers"]
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", [str(a) for a in [*arguments, *more]])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        assert raised.value.code == 1
        output = capsys.readouterr().out
        if more:
            found = json.loads(output)["layers"]
            assert found["offender"] == "layers.1.residual_group.blocks.0"
        else:
            assert "first offender: layers.1.residual_group.blocks.0 (HAB)" in output
            assert "…" not in output
