"""The cost model against the network itself, counted and measured by PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from hat_deploy.networks.hat.config import VARIANTS, HATConfig
from hat_deploy.networks.hat.cost import cost, memory, process_memory
from hat_deploy.networks.hat.network import HAT

published = HATConfig.published
small = {"embed_dim": 24, "depths": (2, 3), "num_heads": 4, "window_size": 8}

CONFIGS = {
    **{f"{name} x{s}": replace(c, scale=s) for name, c in VARIANTS.items() for s in (2, 3, 4)},
    "without OCAB": published(4, depths=(6, 6), ocab=False),
    "without CAB": published(4, depths=(6, 6), cab=False),
    "without channel attention": published(4, depths=(6, 6), channel_attention=False),
    "without OCAB and CAB": published(4, depths=(6, 6), ocab=False, cab=False),
    "compress_ratio 1": published(4, depths=(6, 6), compress_ratio=1),
    "compress_ratio 6": published(4, depths=(6, 6), compress_ratio=6),
    "squeeze_factor 10": published(4, depths=(6, 6), squeeze_factor=10),
    "window 8": published(4, depths=(6, 6), window_size=8),
    "overlap ratio 0": published(4, depths=(6, 6), overlap_ratio=0.0),
    "overlap ratio 0.75": published(4, depths=(6, 6), overlap_ratio=0.75),
    "gray": published(3, in_channels=1, **small),
    "x1": published(1, mlp_ratio=4, **small),
    "x8": published(8, **small),
    "x16": published(16, **small),
    "no qkv bias": replace(published(2, **small), qkv_bias=False),
    "no patch norm": replace(published(2, **small), patch_norm=False),
    "no body convolution": replace(published(2, **small), body_conv=False),
    "unequal heads": replace(published(2, **small), num_heads=(2, 6)),
    "narrow upsampler": replace(published(4, **small), upsampler_channels=16),
}


def counted(config: HATConfig, height: int, width: int) -> tuple[int, int]:
    """Parameters and multi-adds of the real network, without computing anything."""
    with torch.device("meta"):
        network = HAT(config).eval()
        picture = torch.empty(1, config.in_channels, height, width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(picture)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.startswith("HAT") else name
        for name in CONFIGS
    ],
)
def test_equals_what_the_network_does(name: str) -> None:
    config = CONFIGS[name]
    result = cost(config)
    assert (result.parameters, result.multi_adds) == counted(config, 64, 64)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 40), (48, 16)])
def test_equals_what_the_network_does_at_other_sizes(height: int, width: int) -> None:
    config = published(4, **small)
    result = cost(config, height, width)
    assert (result.parameters, result.multi_adds) == counted(config, height, width)


@pytest.mark.parametrize(
    ("config", "parameters", "multi_adds"),
    [
        # arXiv 2205.04437 and the authors' table of x4 results, 64x64 input. SwinIR in that
        # table is the same network with 8x8 windows and neither OCAB nor CAB.
        (VARIANTS["HAT"], 20.8e6, 103.7e9),
        (VARIANTS["HAT-S"], 9.6e6, 54.9e9),
        (published(4, window_size=8, ocab=False, cab=False), 11.9e6, 53.6e9),
    ],
    ids=["HAT", "HAT-S", "SwinIR"],
)
def test_agrees_with_the_published_table(
    config: HATConfig, parameters: float, multi_adds: float
) -> None:
    result = cost(config)
    assert result.parameters == pytest.approx(parameters, rel=0.01)
    assert result.multi_adds == pytest.approx(multi_adds, rel=0.006)


def test_hat_l_has_the_published_parameters() -> None:
    assert cost(VARIANTS["HAT-L"]).parameters == pytest.approx(40.8e6, rel=0.01)


def test_parts_by_hand() -> None:
    """embed_dim 4, one HAB and an OCAB, window 2, one 2x4 picture of 8 pixels."""
    config = HATConfig(
        scale=2,
        embed_dim=4,
        depths=(1,),
        num_heads=(2,),
        window_size=2,
        overlap_size=4,
        cab_channels=2,
        squeeze_channels=1,
        mlp_channels=8,
        upsampler_channels=2,
    )
    parts = cost(config, 2, 4).parts
    assert {name: (part.parameters, part.multi_adds) for name, part in parts.items()} == {
        "shallow": (9 * 3 * 4 + 4, 9 * 3 * 4 * 8),
        "projections": (4 * 12 + 12 + 4 * 4 + 4, (4 * 12 + 4 * 4) * 8),
        "attention": (3 * 3 * 2, 2 * 4 * 8 * 4),
        "cab": ((72 + 2) + (72 + 4) + (4 + 1) + (4 + 4), (72 + 72) * 8 + 4 + 4),
        "mlp": ((32 + 8) + (32 + 4), 64 * 8),
        "ocab": (80 + 76 + 5 * 5 * 2, (64 + 64) * 8 + 2 * 4 * 8 * 16),
        "closing": (2 * (144 + 4), 2 * 144 * 8),
        "reconstruction": ((72 + 2) + (144 + 8) + (54 + 3), 72 * 8 + 144 * 8 + 54 * 32),
        "norms": (6 * 8, 0),
    }


def test_per_megapixel_does_not_depend_on_the_size() -> None:
    """But for channel attention's two layers on a single pixel, a 1e-5 share."""
    config = VARIANTS["HAT"]
    small_tile, large_tile = cost(config, 64, 64), cost(config, 256, 512)
    assert small_tile.per_megapixel == round(small_tile.multi_adds / 4096 * 1e6)
    assert large_tile.per_megapixel == pytest.approx(small_tile.per_megapixel, rel=2e-5)


@pytest.mark.parametrize("size", [(60, 64), (64, 60), (0, 64), (64, -16)])
def test_refuses_what_no_window_fits(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of the window, 16"):
        cost(VARIANTS["HAT"], *size)
    with pytest.raises(ValueError, match="multiples of the window, 16"):
        memory(VARIANTS["HAT"], *size)


def peak_bytes(config: HATConfig, size: int, folder: Path, backend: SDPBackend) -> int:
    """Most bytes of tensors that a forward pass held at once, from the allocator's record."""
    network = HAT(config).freeze()
    picture = torch.rand(1, config.in_channels, size, size)
    record = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with torch.no_grad(), sdpa_kernel(backend), record:
        network(picture)
    trace = folder / "trace.json"
    record.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["name"] == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize(
    ("moment", "config"),
    [
        ("ocab", published(4, depths=(2,))),
        ("attention", published(1, depths=(2,), ocab=False)),
        ("mlp", published(1, depths=(2,), mlp_ratio=8, ocab=False)),
        ("cab", replace(published(1, depths=(2,), ocab=False), cab_channels=900)),
        ("reconstruction", published(4, depths=(2,), ocab=False)),
    ],
)
def test_activations_are_within_20_percent_of_pytorchs(
    moment: str, config: HATConfig, tmp_path: Path
) -> None:
    estimate = memory(config, 64, 64)
    measured = peak_bytes(config, 64, tmp_path, SDPBackend.FLASH_ATTENTION)
    assert estimate.moment == moment
    assert estimate.activations == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize(
    ("moment", "config"),
    [
        ("ocab", published(4, depths=(1,))),
        ("attention", published(2, depths=(1,), ocab=False)),
    ],
)
def test_stored_scores_are_counted(moment: str, config: HATConfig, tmp_path: Path) -> None:
    estimate = memory(config, 64, 64, fused=False)
    measured = peak_bytes(config, 64, tmp_path, SDPBackend.MATH)
    assert estimate.moment == moment
    assert estimate.activations == pytest.approx(measured, rel=0.2)


def test_memory_scales_with_element_and_area() -> None:
    config = VARIANTS["HAT"]
    single, half = memory(config, 64, 64), memory(config, 64, 64, element_size=2)
    large = memory(config, 128, 128)
    assert single.total == 2 * half.total
    assert large.activations == 4 * single.activations
    assert (large.weights, large.position_biases) == (single.weights, single.position_biases)
    assert single.weights == 4 * cost(config).parameters


@pytest.mark.parametrize("name", ["HAT-S x4", "without OCAB", "unequal heads"])
def test_expanded_biases_are_the_frozen_networks(name: str) -> None:
    config = CONFIGS[name]
    with torch.device("meta"):
        network = HAT(config).freeze()
    frozen = [buffer for key, buffer in network.named_buffers() if key.endswith("frozen")]
    expanded = sum(buffer.numel() * buffer.element_size() for buffer in frozen)
    assert memory(config, 64, 64).position_biases == expanded


MEASURED = [
    # config, tile, OpenVINO and ONNX Runtime, in MB
    (published(4), 256, 1490, 3300),
    (published(4, depths=(2,)), 64, 203, 281),
    (published(4, depths=(2,)), 128, 351, 844),
    (published(4, depths=(2,)), 256, 937, 3079),
    (published(2, depths=(6,)), 128, 401, 836),
    (published(4, depths=(2,), embed_dim=144, compress_ratio=24, squeeze_factor=24), 64, 184, 273),
    (published(2, depths=(2,), ocab=False), 128, 272, 428),
    (published(2, embed_dim=48, depths=(4, 4), num_heads=4, squeeze_factor=12), 256, 401, 2205),
]
"""Largest resident sets, on two cores; see process_memory."""


@pytest.mark.parametrize(("config", "side", "openvino", "onnxruntime"), MEASURED)
def test_whole_processes_are_within_an_eighth_of_what_was_measured(
    config: HATConfig, side: int, openvino: int, onnxruntime: int
) -> None:
    estimate = process_memory(config, side, side)
    assert estimate["openvino"] == pytest.approx(openvino * 1e6, rel=0.125)
    assert estimate["onnxruntime"] == pytest.approx(onnxruntime * 1e6, rel=0.125)
    assert process_memory(config, side, side, batch=2)["onnxruntime"] > estimate["onnxruntime"]


def test_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from hat_deploy.networks.hat.cost import cost\n"
        "from hat_deploy.networks.hat.config import VARIANTS\n"
        "print(cost(VARIANTS['HAT']).parameters)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) == cost(VARIANTS["HAT"]).parameters
