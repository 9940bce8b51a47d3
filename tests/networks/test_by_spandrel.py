"""Networks that come by spandrel: loaded from tensors alone, and whole networks afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from commands import runner
from PIL import Image
from test_packaging import python
from tiny import picture, random_network, tiny_config

from benchmarks.instances import instance
from benchmarks.networks import PAGE, RESULTS, Result, measure_apart, table
from hat_deploy import networks
from hat_deploy.artifact import describe
from hat_deploy.errors import CheckpointError, UsageError
from hat_deploy.export.to_onnx import ExportOptions, export_onnx
from hat_deploy.export.translations import translations
from hat_deploy.networks.by_spandrel import library
from hat_deploy.networks.by_spandrel.counting import count
from hat_deploy.networks.by_spandrel.network import SpandrelNetwork
from hat_deploy.networks.by_spandrel.shape import SpandrelShape, window_for
from hat_deploy.networks.checkpoint import build, detect_config, inspect, load_network
from hat_deploy.verify.weights import foreign


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("ESRGAN", tmp_path_factory.mktemp("spandrel"))


def save(name: str, folder: Path) -> Path:
    path = folder / f"{name}.pth"
    torch.save({key: value.clone() for key, value in instance(name).items()}, path)
    return path


def test_it_computes_what_the_library_computes(checkpoint: Path) -> None:
    import spandrel

    network = load_network(checkpoint)
    other = spandrel.MAIN_REGISTRY.load(instance("ESRGAN"))
    x = picture(32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(network(x).clamp(0, 1), other(x), rtol=0, atol=0)


def test_any_size_is_padded_by_reflection_and_cropped(checkpoint: Path) -> None:
    network = load_network(checkpoint)
    x = picture(17, 30)
    padded = torch.from_numpy(np.pad(x.numpy(), [(0, 0), (0, 0), (0, 15), (0, 2)], "reflect"))
    with torch.inference_mode():
        assert torch.equal(network(x), network(padded)[..., :68, :120])


def test_a_network_with_a_map_of_noise_takes_several_images(tmp_path: Path) -> None:
    network = load_network(save("DRUNet", tmp_path))
    x = picture(32, 32, batch=2)
    with torch.inference_mode():
        assert torch.equal(network(x), torch.cat([network(x[:1]), network(x[1:])]))


def test_an_input_is_left_as_it_was(tmp_path: Path) -> None:
    x = picture(16, 16)
    with torch.inference_mode():
        load_network(save("RCAN", tmp_path))(x)
    assert torch.equal(x, picture(16, 16))


def test_random_numbers_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"this Noisy draws random numbers \(aten.randn_like"):
        count("Noisy", lambda x: x + torch.randn_like(x), (1, 3, 16, 16))


def test_a_sort_is_exported_as_pytorch_computes_it(tmp_path: Path) -> None:
    class Sorting(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sort(x, dim=-1, stable=True)[1]

    x = torch.randint(0, 5, (2, 300), generator=torch.Generator().manual_seed(0))
    table = translations()
    program = torch.onnx.export(Sorting().eval(), (x,), dynamo=True, custom_translation_table=table)
    assert program is not None
    program.save(tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.array_equal(found, Sorting()(x).numpy())


def test_its_shape_says_what_it_is_and_needs_no_torch(checkpoint: Path) -> None:
    shape, _ = inspect(checkpoint)
    assert (shape.architecture, shape.scale, shape.channels) == ("ESRGAN", 4, 3)
    text = json.dumps(shape.to_dict())
    assert networks.shape_of(json.loads(text)) == shape
    code = f"""
import json
from hat_deploy.networks import shape_of
shape = shape_of(json.loads({text!r}))
print(shape.cost(32, 48).parameters, shape.memory(32, 32).total > 0)
"""
    done = python(code, "torch", "spandrel")
    count = sum(p.numel() for p in load_network(checkpoint).parameters())
    assert done.stdout == f"{count} True\n", done.stderr


def test_its_cost_is_what_the_same_convolutions_cost(checkpoint: Path) -> None:
    network = load_network(checkpoint)
    expected = 0

    def count(module: torch.nn.Conv2d, x: object, y: torch.Tensor) -> None:
        nonlocal expected
        expected += module.weight.numel() * y.shape[-2] * y.shape[-1]

    convs = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    handles = [module.register_forward_hook(count) for module in convs]
    with torch.inference_mode():
        network(picture(32, 48))
    for handle in handles:
        handle.remove()
    assert network.config.cost(32, 48).multi_adds == expected


def test_a_damaged_description_is_refused(checkpoint: Path) -> None:
    values = load_network(checkpoint).config.to_dict()
    for change in ({"scale": 0}, {"multi_adds": 3}, {"window": "16"}, {"other": 1}):
        with pytest.raises(ValueError, match=next(iter(change))):
            networks.shape_of(values | change)
    with pytest.raises(ValueError, match="incomplete"):
        networks.shape_of({"library": "spandrel", "architecture": "ESRGAN"})


def test_the_window_is_what_the_network_demands_and_no_less_than_the_grid() -> None:
    assert [window_for(*each) for each in ((0, 1), (40, 4), (0, 7), (0, 128))] == [16, 40, 21, 128]


def test_a_native_network_goes_first() -> None:
    weights = random_network(tiny_config()).state_dict()
    assert detect_config(weights).architecture == "HAT"
    assert detect_config(instance("SwinIR")).architecture == "SwinIR"
    assert not isinstance(detect_config(instance("SwinIR")), SpandrelShape)


def test_the_library_never_sees_a_file(checkpoint: Path) -> None:
    text = Path(library.__file__).read_text(encoding="utf-8")
    assert "load_from_file" not in text
    assert "ModelLoader" not in text


@pytest.mark.parametrize("option", [{"conv_scale": 1.0}, {"img_range": 255.0}, {"shift": False}])
def test_what_only_native_networks_are_told_is_refused(
    checkpoint: Path, option: dict[str, float]
) -> None:
    with pytest.raises(CheckpointError, match=r"comes by spandrel and takes no such value"):
        load_network(checkpoint, **option)  # type: ignore[arg-type]


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(CheckpointError, match="spandrel does not know it either"):
        detect_config({"some.weight": torch.zeros(3, 3)})


def test_weights_that_end_early_are_refused() -> None:
    weights = instance("Compact")
    del weights["body.2.weight"]
    with pytest.raises(CheckpointError, match="spandrel takes the weights for those of a Compact"):
        detect_config(weights)


def test_a_network_of_more_than_an_image_is_refused() -> None:
    weights = {"model.model.1.bn_l.running_mean": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="LaMa"):
        detect_config(weights)


def test_without_spandrel_the_extra_is_named(checkpoint: Path) -> None:
    code = f"""
from hat_deploy.networks.checkpoint import load_network
from hat_deploy.errors import CheckpointError
try:
    load_network({str(checkpoint)!r})
except CheckpointError as error:
    print(error)
"""
    done = python(code, "spandrel")
    assert "they look like those of" in done.stdout, done.stderr
    assert "'.[networks]'" in done.stdout


def test_it_is_built_from_weights_alone(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="from weights alone"):
        build(load_network(checkpoint).config)


@pytest.mark.slow
def test_it_exports_in_half_with_what_stays_wide_in_its_description(tmp_path: Path) -> None:
    network = load_network(save("SPAN", tmp_path))
    options, target = ExportOptions(tile=(32, 32), precision="fp16"), tmp_path / "x.onnx"
    report = export_onnx(network, target, options, model="x", checkpoint_sha256="")
    assert report.arithmetic is not None and report.arithmetic.psnr > 60
    described = describe(target)
    assert described.assignment is not None and described.assignment.wide
    assert "stay in fp32" in described.mixed
    other = load_network(tmp_path / "SPAN.pth")
    other.assign(described.assignment)
    assert foreign(target, other.in_precision("fp16")) == []
    changed = replace(described.assignment, wide={})
    other.assign(changed)
    assert foreign(target, other.in_precision("fp16")) != []


def test_layers_in_half_are_assigned_before(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="was not assigned"):
        load_network(checkpoint).in_precision("fp16")


def test_weights_that_are_fused_in_every_pass_are_fused_once() -> None:
    import spandrel

    weights, x = instance("SPAN"), picture(16, 16)
    expected = spandrel.MAIN_REGISTRY.load(dict(weights)).model.eval()(x)
    found = library.find(weights)
    assert found is not None
    network = SpandrelNetwork(found)
    before = next(iter(network.state_dict().values())).data_ptr()
    with torch.inference_mode():
        torch.testing.assert_close(network(x), expected.detach())
    assert next(iter(network.state_dict().values())).data_ptr() == before


@pytest.mark.slow
def test_convolutions_export_for_any_size(checkpoint: Path, tmp_path: Path) -> None:
    network = load_network(checkpoint)
    options = ExportOptions(tile=(32, 32), any_size=True)
    target = tmp_path / "x.onnx"
    report = export_onnx(network, target, options, model="x", checkpoint_sha256="")
    assert report.proof.psnr > 90
    assert describe(target).config["library"] == "spandrel"


def test_a_graph_of_one_size_says_so(tmp_path: Path) -> None:
    network = SpandrelNetwork(library.find(instance("SAFMN")))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="holds for one size"):
        export_onnx(
            network,
            tmp_path / "x.onnx",
            ExportOptions(tile=(32, 32), any_size=True),
            model="x",
            checkpoint_sha256="",
        )


@pytest.mark.slow
def test_from_checkpoint_to_images_by_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = runner(monkeypatch, capsys)
    model, source, artifact = save("SAFMN", tmp_path), tmp_path / "a.png", tmp_path / "m.onnx"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(source)
    for _ in range(2):  # the second time it is in the cache
        done = cli("upscale --tile 48 --overwrite --model", model, source)
        assert done.code == 0, done.err
    assert Image.open(tmp_path / "a-x2.png").size == (100, 80)
    assert cli("export --tile 48", model, "-o", artifact).code == 0
    ended = cli("verify --engine", artifact, "--reference", model, source)
    assert ended.code == 0, ended.err
    assert "SAFMN" in cli("info", artifact).out
    assert cli("verify --layers --engine", artifact, "--reference", model, source).refused("SAFMN")


@pytest.mark.slowest
@pytest.mark.parametrize("name", ["Compact", "OmniSR"])
def test_an_architecture_exports_and_is_proved(name: str) -> None:
    result = measure_apart(name)
    assert result.psnr is not None and result.psnr > 90, result.reason


def test_the_page_has_the_figures() -> None:
    results = [Result(**each) for each in json.loads(RESULTS.read_text())]
    assert table(results) in PAGE.read_text(encoding="utf-8")
