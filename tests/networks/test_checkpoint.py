from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from independent import authors_state_dict, independent_hat
from tiny import picture, random_network, randomise, save_tensors, tiny_config
from torch import Tensor, nn

from hat_deploy.errors import CheckpointError, UsageError
from hat_deploy.networks import windows
from hat_deploy.networks.checkpoint import (
    detect_config,
    load_network,
    load_state_dict,
    save_checkpoint,
)
from hat_deploy.networks.hat.config import VARIANTS, HATConfig
from hat_deploy.networks.hat.network import HAT

BLOCK = "layers.0.residual_group.blocks.0."
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> HAT:
    return random_network(tiny_config())


@pytest.fixture
def weights(network: HAT) -> Weights:
    return authors_state_dict(network)


def assert_same_pixels(left: nn.Module, right: nn.Module) -> None:
    x = picture(8, 8)
    with torch.no_grad():
        assert torch.equal(left(x), right(x))


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# What is taken from a file


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "net_g._orig_mod.", "_orig_mod.module.model."])
def test_wrappers_and_prefixes(
    tmp_path: Path, network: HAT, weights: Weights, wrapper: str | None, prefix: str
) -> None:
    path = save_tensors(weights, tmp_path / "w.pth", wrapper=wrapper, prefix=prefix, iter=7)
    assert_same_pixels(load_network(path), network)


def test_order_of_preference(tmp_path: Path, weights: Weights) -> None:
    places = ["params_ema", "params", "state_dict"]
    content = {name: weights | {"marker": torch.tensor(i)} for i, name in enumerate(places)}
    for i, name in enumerate(places):
        torch.save(dict(reversed(content.items())), tmp_path / "w.pth")
        assert load_state_dict(tmp_path / "w.pth")["marker"] == i
        del content[name]


def test_an_empty_preferred_place_is_passed_over(tmp_path: Path, weights: Weights) -> None:
    torch.save({"params_ema": {}, "params": weights}, tmp_path / "w.pth")
    assert load_state_dict(tmp_path / "w.pth").keys() == weights.keys()


def test_generator_beside_a_discriminator(tmp_path: Path, network: HAT, weights: Weights) -> None:
    pair = {f"net_g.{name}": x for name, x in weights.items()}
    pair |= {"net_d.conv0.weight": torch.ones(3), "steps": torch.tensor(5)}
    assert_same_pixels(load_network(save_tensors(pair, tmp_path / "w.pth")), network)
    averaged = random_network(tiny_config(), seed=9)
    pair |= {f"net_g_ema.{name}": x for name, x in authors_state_dict(averaged).items()}
    assert_same_pixels(load_network(save_tensors(pair, tmp_path / "w.pth")), averaged)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ""])
def test_content_decides_not_the_suffix(
    tmp_path: Path, network: HAT, weights: Weights, suffix: str
) -> None:
    tensors = tmp_path / f"a{suffix}"
    safetensors.torch.save_file(weights, tensors)
    assert_same_pixels(load_network(tensors), network)
    assert_same_pixels(load_network(save_tensors(weights, tmp_path / f"b{suffix}")), network)
    torch.save(weights, tmp_path / f"c{suffix}", _use_new_zipfile_serialization=False)
    assert_same_pixels(load_network(tmp_path / f"c{suffix}"), network)


def test_a_name_that_is_no_text(tmp_path: Path, network: HAT, weights: Weights) -> None:
    plain = save_tensors(weights, tmp_path / "w.pth")
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/-\xff\n .pth"))
    plain.rename(strange)
    assert_same_pixels(load_network(strange), network)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_precisions_become_float32(
    tmp_path: Path, weights: Weights, dtype: torch.dtype, suffix: str
) -> None:
    """Every tensor, the index buffers too: careless converters do that."""
    converted = {name: x.to(dtype) for name, x in weights.items()}
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        save_tensors(converted, path)
    else:
        safetensors.torch.save_file(converted, path)
    state = load_network(path).state_dict()
    for name, tensor in state.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, converted[name].float())


def test_loaded_network_is_frozen(tmp_path: Path, weights: Weights) -> None:
    network = load_network(save_tensors(weights, tmp_path / "w.pth"))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.layers[0].residual_group.overlap_attn.frozen is not None


def test_derived_buffers_are_ignored(tmp_path: Path, network: HAT, weights: Weights) -> None:
    weights |= {
        BLOCK + "attn.relative_position_index": windows.relative_position_index(4),
        BLOCK + "attn_mask": torch.zeros(4, 16, 16),
        "mean": torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1),
    }
    path = save_tensors(weights, tmp_path / "w.pth")
    assert_same_pixels(load_network(path), network)
    other_mean = weights | {"mean": torch.zeros(1, 3, 1, 1)}
    assert "mean" in refusal(load_network, save_tensors(other_mean, path))


# Config from shapes


CONFIGS = {
    **{f"{name} x{s}": replace(c, scale=s) for name, c in VARIANTS.items() for s in (2, 3, 4)},
    "x1": tiny_config(1),
    "x8": tiny_config(8),
    "x16": tiny_config(16),
    "gray": tiny_config(in_channels=1),
    "window 7": tiny_config(window_size=7, overlap_ratio=0.3),
    "window 8": tiny_config(window_size=8),
    "overlap 0": tiny_config(overlap_ratio=0.0),
    "overlap 1": tiny_config(overlap_ratio=1.0),
    "no OCAB": tiny_config(ocab=False),
    "no CAB": tiny_config(cab=False),
    "no channel attention": tiny_config(channel_attention=False),
    "no OCAB, no CAB": tiny_config(ocab=False, cab=False),
    "uneven": replace(tiny_config(), depths=(1, 3, 2), num_heads=(2, 3, 12)),
    "many groups": replace(tiny_config(), depths=(1,) * 11, num_heads=(2,) * 11),
    "odd channels": tiny_config(embed_dim=50, num_heads=5, compress_ratio=7, squeeze_factor=11),
    "mlp": tiny_config(mlp_ratio=2.7),
    "upsampler": replace(tiny_config(4), upsampler_channels=20),
    "upsampler of 9": replace(tiny_config(3), upsampler_channels=9),
    "no qkv bias": replace(tiny_config(), qkv_bias=False),
    "no patch norm": replace(tiny_config(), patch_norm=False),
    "no body convolution": replace(tiny_config(), body_conv=False),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_read_off_the_weights(name: str) -> None:
    config = CONFIGS[name]
    with torch.device("meta"):
        weights = HAT(config).state_dict()
    assert detect_config(weights) == config
    alpha = replace(config, conv_scale=0.5, img_range=255.0)
    assert detect_config(weights, conv_scale=0.5, img_range=255.0) == alpha


@pytest.mark.parametrize("name", ["no OCAB", "no CAB", "no OCAB, no CAB", "uneven", "gray", "x1"])
def test_a_saved_network_comes_back(tmp_path: Path, name: str) -> None:
    network = random_network(CONFIGS[name])
    save_checkpoint(network, tmp_path / "w.pth")
    loaded = load_network(tmp_path / "w.pth")
    assert loaded.config == CONFIGS[name]
    x = picture(8, 8, channels=loaded.config.in_channels)
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize("window", [8, 16])
def test_index_buffers_are_checked_where_they_are(window: int) -> None:
    network = random_network(tiny_config(window_size=window))
    weights = authors_state_dict(network)
    assert detect_config(weights) == network.config
    for key in ("relative_position_index_SA", "relative_position_index_OCA"):
        assert key in refusal(detect_config, weights | {key: weights[key].flip(1)})
        assert key in refusal(detect_config, weights | {key: weights[key][:-1]})
        assert detect_config(weights | {key: weights[key].int()}) == network.config


# What the weights do not say


def test_alpha_and_range_come_from_options_then_config_json(
    tmp_path: Path, network: HAT, weights: Weights
) -> None:
    path = save_tensors(weights, tmp_path / "w.pth")
    assert load_network(path).config == network.config
    stored = replace(network.config, conv_scale=0.3, img_range=2.0)
    (tmp_path / "config.json").write_text(json.dumps(stored.to_dict()))
    assert load_network(path).config == stored
    assert load_network(path, conv_scale=0.4).config == replace(stored, conv_scale=0.4)
    mine = replace(network.config, conv_scale=0.2)
    assert load_network(path, config=mine).config == mine
    assert load_network(path, config=mine, img_range=3.0).config == replace(mine, img_range=3.0)


def test_alpha_reaches_the_pixels(tmp_path: Path, weights: Weights) -> None:
    path = save_tensors(weights, tmp_path / "w.pth")
    x = picture(8, 12)
    for alpha, scale in [(0.7, 1.0), (0.01, 255.0)]:
        other = independent_hat(weights, conv_scale=alpha, img_range=scale)
        with torch.no_grad():
            mine = load_network(path, conv_scale=alpha, img_range=scale)(x)
            assert (mine - other(x)).abs().max() <= 1e-5


def test_scale_of_queries_and_shifts_come_from_options_then_config_json(
    tmp_path: Path, network: HAT, weights: Weights
) -> None:
    path = save_tensors(weights, tmp_path / "w.pth")
    stored = replace(network.config, qk_scale=0.9, shift=False)
    (tmp_path / "config.json").write_text(json.dumps(stored.to_dict()))
    assert load_network(path).config == stored
    given = load_network(path, qk_scale=0.5, shift=True).config
    assert given == replace(stored, qk_scale=0.5, shift=True)
    x = picture(8, 12)
    other = independent_hat(weights, qk_scale=0.9, shift=False)
    with torch.no_grad():
        assert (load_network(path)(x) - other(x)).abs().max() <= 1e-5
        assert (network(x) - other(x)).abs().max() > 1e-3
    (tmp_path / "config.json").write_text('{"shift": 0}')
    assert "shift 0; expected true or false" in refusal(load_network, path)


def test_config_json_of_something_else(tmp_path: Path, network: HAT, weights: Weights) -> None:
    path = save_tensors(weights, tmp_path / "w.pth")
    beside = tmp_path / "config.json"
    beside.write_text('{"model_type": "bert", "scale": 9}')
    assert load_network(path).config == network.config
    beside.write_text("[1, 2]")
    assert load_network(path).config == network.config
    beside.write_text(json.dumps(VARIANTS["HAT"].to_dict()))
    assert "about other weights" in refusal(load_network, path)
    assert load_network(path, conv_scale=0.01, img_range=1).config == network.config
    beside.write_text('{"conv_scale": "much"}')
    assert "conv_scale 'much'" in refusal(load_network, path)
    beside.write_text("{")
    assert "config.json" in refusal(load_network, path)


@pytest.mark.parametrize(
    "option", [{"img_range": 0.0}, {"conv_scale": float("nan")}, {"qk_scale": 0.0}]
)
def test_impossible_options(tmp_path: Path, weights: Weights, option: dict[str, float]) -> None:
    path = save_tensors(weights, tmp_path / "w.pth")
    assert next(iter(option)) in refusal(load_network, path, **option)


def test_a_config_that_does_not_fit(tmp_path: Path, network: HAT, weights: Weights) -> None:
    path = save_tensors(weights, tmp_path / "w.pth")
    wider = replace(network.config, mlp_channels=48)
    assert "mlp.fc1.weight has shape (24, 12)" in refusal(load_network, path, config=wider)
    deeper = replace(network.config, depths=(2, 3))
    message = refusal(load_network, path, config=deeper)
    assert "lack" in message
    assert "layers.1.residual_group.blocks.2.norm1.weight" in message


# Files that are no checkpoint


def html(path: Path) -> str:
    path.write_text("\n<!DOCTYPE html><html><body>Sign in</body></html>")
    return "is an HTML page, not a checkpoint: the download went wrong"


def xml(path: Path) -> str:
    path.write_text('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>')
    return "XML"


def lfs(path: Path) -> str:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 85\n")
    return "Git LFS pointer"


def empty(path: Path) -> str:
    path.touch()
    return "is empty"


def folder(path: Path) -> str:
    path.mkdir()
    return "is a folder"


def fifo(path: Path) -> str:
    os.mkfifo(path)
    return "not a regular file"


def dangling(path: Path) -> str:
    path.symlink_to(path.with_name("nowhere"))
    return "there is no file"


def absent(path: Path) -> str:
    return "there is no file"


def text(path: Path) -> str:
    path.write_text("404: Not Found")
    return "404: Not Found"


def noise(path: Path) -> str:
    path.write_bytes(bytes(range(200, 256)) * 40)
    return "no checkpoint that can be recognised"


def png(path: Path) -> str:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return "PNG image"


def onnx_model(path: Path) -> str:
    import onnx

    graph = onnx.helper.make_graph([], "empty", [], [])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return "ONNX model"


def plan(path: Path) -> str:
    path.write_bytes(b"ftrt" + bytes(100))
    return "TensorRT plan"


def other_zip(path: Path) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("HAT_SRx4.pth", b"x" * 100)
    return "zip archive that holds HAT_SRx4.pth"


def torchscript(path: Path) -> str:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    torch.jit.save(torch.jit.trace(Doubled(), torch.ones(1)), path)
    return "TorchScript"


def whole_module(path: Path) -> str:
    torch.save(nn.Conv2d(3, 3, 3), path)
    return "pickled torch.nn.modules.conv.Conv2d"


def module_beside_weights(path: Path) -> str:
    torch.save({"params": {"conv_first.weight": torch.ones(1)}, "config": HATConfig(scale=2)}, path)
    return "pickled hat_deploy.networks.hat.config.HATConfig"


def malicious(path: Path) -> str:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (path.with_name("ran"),)

    torch.save({"params": Payload()}, path)
    return "pickled"


def bare_pickle(path: Path) -> str:
    path.write_bytes(pickle.dumps({"a": os.system}, protocol=2))
    return "pickled posix.system"


def newer_pickle(path: Path) -> str:
    path.write_bytes(pickle.dumps({"a": os.system}, protocol=5))
    return "a pickle that torch.save did not write"


def training_state(path: Path) -> str:
    torch.save({"epoch": 1, "iter": 2, "optimizers": [{"state": {}}]}, path)
    return "holds no weights (found: epoch, iter, optimizers)"


def one_tensor(path: Path) -> str:
    torch.save(torch.ones(3), path)
    return "holds one Tensor"


def no_tensors(path: Path) -> str:
    torch.save({}, path)
    return "found: nothing"


def empty_safetensors(path: Path) -> str:
    path.write_bytes(safetensors.torch.save({}))
    return "holds no weights"


HOSTILE = [
    html, xml, lfs, empty, folder, fifo, dangling, absent, text, noise, png, onnx_model, plan,
    other_zip, torchscript, whole_module, module_beside_weights, malicious, bare_pickle,
    newer_pickle, training_state, one_tensor, no_tensors, empty_safetensors,
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_that_are_no_checkpoint(
    tmp_path: Path, make: Callable[[Path], str], suffix: str
) -> None:
    path = tmp_path / f"given{suffix}"
    expected = make(path)
    message = refusal(load_network, path)
    assert expected in message
    assert str(path) in message
    assert "\n" not in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".onnx", ".plan", ".engine"])
def test_artifacts_by_name(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"\x00\x01\x02\xff" * 20)
    assert "pass it as an engine" in refusal(load_network, tmp_path / f"a{suffix}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path, weights: Weights) -> None:
    path = save_tensors(weights, tmp_path / "w.pth")
    path.chmod(0)
    assert "cannot be read" in refusal(load_network, path)


# Damaged files


def serialised(weights: Weights, kind: str) -> bytes:
    if kind == "safetensors":
        return safetensors.torch.save(weights)
    buffer = io.BytesIO()
    torch.save(weights, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, kind: str) -> None:
    weights = {f"tensor{i}": torch.rand(20) for i in range(3)}
    content = serialised(weights, kind)
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert load_state_dict(path).keys() == weights.keys()
    offsets = {
        *range(1, 300),
        *range(300, len(content), 7),
        *range(len(content) - 40, len(content)),
    }
    for offset in sorted(offsets):
        path.write_bytes(content[:offset])
        assert str(path) in refusal(load_state_dict, path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_damaged_file_never_fails_otherwise(tmp_path: Path, kind: str) -> None:
    """A changed byte may pass unseen in a weight; elsewhere it is a sentence, not a traceback."""
    weights = {f"tensor{i}": torch.rand(20) for i in range(3)}
    content = serialised(weights, kind)
    path = tmp_path / "w.pth"
    refused = 0
    for offset in range(0, len(content), 5):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 0x55]) + content[offset + 1 :])
        try:
            load_state_dict(path)
        except CheckpointError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(("suffix", "word"), [(".pth", "zip"), (".safetensors", "safetensors")])
def test_half_a_download_is_called_that(
    tmp_path: Path, network: HAT, suffix: str, word: str
) -> None:
    path = tmp_path / f"w{suffix}"
    save_checkpoint(network, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    message = refusal(load_network, path)
    assert "truncated" in message
    assert word in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_no_numbers(
    tmp_path: Path, weights: Weights, value: float, dtype: torch.dtype
) -> None:
    weights["layers.1.conv.weight"] = weights["layers.1.conv.weight"].clone().to(dtype)
    weights["layers.1.conv.weight"].view(-1)[5] = value
    path = save_tensors(weights, tmp_path / "w.pth")
    assert "layers.1.conv.weight holds NaN or infinity" in refusal(load_state_dict, path)


def test_weights_that_are_no_weights(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "w.pth"
    key = "conv_last.weight"
    save_tensors(weights | {key: weights[key].to(torch.int8)}, path)
    assert "conv_last.weight is torch.int8" in refusal(load_network, path)
    save_tensors(weights | {key: weights[key].to("meta")}, path)
    assert "conv_last.weight is not a plain tensor" in refusal(load_network, path)
    save_tensors(weights | {key: weights[key].to_sparse()}, path)
    refusal(load_network, path)


# Weights of another network


def keys(*names: str) -> Weights:
    return {name: torch.ones(1) for name in names}


FOREIGN = {
    "an ESRGAN (RRDB)": keys("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
    "an ESRGAN (RRDB) ": keys("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_body.weight"),
    "a DAT": keys("conv_first.weight", "before_RG.1.weight", "layers.0.blocks.0.norm1.weight"),
    "an EDSR with BasicSR's names": keys(
        "conv_first.weight", "body.0.conv1.weight", "upsample.0.weight"
    ),
    "a compact SRVGG": keys("body.0.weight", "body.0.bias", "body.1.weight"),
    "an RCAN": keys("head.0.weight", "body.0.body.0.body.3.conv_du.0.weight"),
    "the network is not a known one": keys("encoder.0.weight"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_other_networks_are_named(tmp_path: Path, name: str, prefix: str) -> None:
    message = refusal(load_network, save_tensors(FOREIGN[name], tmp_path / "w.pth", prefix=prefix))
    assert name.strip() in message
    assert "keys looked for are missing" in message
    assert any(key in message for key in (BLOCK + "norm1.weight", "body.0.body.2.weight"))


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 4096, 12), "64x64"), ((1, 60, 12), "one size"), ((), "one size")]
)
def test_absolute_positions_are_not_supported(
    weights: Weights, shape: tuple[int, ...], size: str
) -> None:
    message = refusal(detect_config, weights | {"absolute_pos_embed": torch.zeros(shape)})
    assert f"a learned value for each pixel of inputs of {size}: such a HAT runs at" in message
    assert "not supported" in message


def test_unexpected_tensors_are_named(tmp_path: Path, weights: Weights) -> None:
    path = save_tensors(weights | {"conv_hr.weight": torch.ones(3)}, tmp_path / "w.pth")
    assert "conv_hr.weight" in refusal(load_network, path)


@pytest.mark.parametrize(
    "changes",
    [
        {BLOCK + "attn.relative_position_bias_table": torch.zeros(50, 2)},
        {BLOCK + "attn.relative_position_bias_table": torch.zeros(64, 2)},
        {BLOCK + "attn.relative_position_bias_table": torch.zeros(49)},
        {BLOCK + "attn.relative_position_bias_table": torch.zeros(49, 5)},
        {BLOCK + "attn.relative_position_bias_table": torch.zeros(49, 0)},
        {BLOCK + "mlp.fc1.weight": torch.zeros(())},
        {BLOCK + "mlp.fc1.weight": torch.zeros(0, 12)},
        {"upsample.0.weight": torch.zeros(100, 64, 3, 3)},
        {"upsample.0.weight": torch.zeros(100)},
        {"upsample.2.weight": torch.zeros(9 * 64, 64, 3, 3)},
        {"conv_first.weight": torch.zeros(12, 3)},
        {"conv_first.weight": torch.zeros(0, 3, 3, 3)},
        {"conv_last.weight": torch.zeros(3, 0, 3, 3)},
        {"conv_last.weight": torch.zeros(1, 64, 3, 3)},
        {"layers.5.conv.weight": torch.zeros(1)},
        {"layers.0.residual_group.blocks.4.norm1.weight": torch.zeros(12)},
    ],
    ids=str,
)
def test_shapes_that_contradict_each_other(
    tmp_path: Path, weights: Weights, changes: Weights
) -> None:
    refusal(load_network, save_tensors(weights | changes, tmp_path / "w.pth"))


@pytest.mark.slow
def test_any_missing_tensor_is_refused(tmp_path: Path, network: HAT) -> None:
    weights = dict(network.state_dict())
    for name in weights:
        rest = {other: x for other, x in weights.items() if other != name}
        message = refusal(load_network, save_tensors(rest, tmp_path / "w.pth"))
        assert "those of a SwinIR" not in message
        assert message.count("SwinIR") == message.count("HAT or a SwinIR")


# Saving


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_saved_files_open_elsewhere(tmp_path: Path, network: HAT, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    save_checkpoint(network, path)
    if suffix == ".pth":
        content = torch.load(path, weights_only=True)["params_ema"]
    else:
        content = safetensors.torch.load_file(path)
    other = independent_hat(content)  # which loads strictly
    own = other.state_dict()
    for name in ("relative_position_index_SA", "relative_position_index_OCA"):
        assert content[name].dtype == torch.int64
    fresh = type(other)(
        embed_dim=12, depths=(2, 2), num_heads=(2, 2), window_size=4, upsampler="pixelshuffle"
    ).state_dict()
    assert torch.equal(fresh["relative_position_index_OCA"], own["relative_position_index_OCA"])
    assert torch.equal(fresh["relative_position_index_SA"], own["relative_position_index_SA"])
    with torch.no_grad():
        assert (other(picture(8, 8)) - network(picture(8, 8))).abs().max() <= 1e-5
    assert_same_pixels(load_network(path), network)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_same_weights_give_the_same_file(tmp_path: Path, network: HAT, suffix: str) -> None:
    for name in "ab":
        save_checkpoint(network, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_a_network_in_training(tmp_path: Path) -> None:
    network = HAT(tiny_config()).train()
    randomise(network)
    save_checkpoint(network, tmp_path / "w.pth")
    assert_same_pixels(load_network(tmp_path / "w.pth"), network.eval())


def test_an_unknown_suffix_is_a_usage_error(tmp_path: Path, network: HAT) -> None:
    with pytest.raises(UsageError, match=r"\.safetensors"):
        save_checkpoint(network, tmp_path / "w.onnx")
    assert not list(tmp_path.iterdir())
