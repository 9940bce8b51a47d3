"""HAT with AST: attention that is partly a squared ReLU, and the network in OCAB's MLP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import onnx
import pytest
import torch
import torch.nn.functional as F
from tiny import FP16_MAX, picture, random_network, run, tiny_config
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hat_deploy.errors import CheckpointError
from hat_deploy.export import to_plan
from hat_deploy.export.to_onnx import ExportReport
from hat_deploy.export.to_plan import BuildOptions
from hat_deploy.images.samples import noise
from hat_deploy.metrics import compare
from hat_deploy.networks import shape_of
from hat_deploy.networks.checkpoint import detect_config, load_network, save_checkpoint
from hat_deploy.networks.deployed import Deployed
from hat_deploy.networks.hat.blocks import score
from hat_deploy.networks.hat.config import HAT_S_AST
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.hat.sparse import SparseOCAB
from hat_deploy.networks.ranges import advice, measure
from hat_deploy.verify import layers, weights

CONFIG = tiny_config(ast=True)


@pytest.fixture(scope="module")
def network() -> HAT:
    return random_network(CONFIG)


def plain(module: SparseOCAB, x: Tensor, height: int, width: int) -> Tensor:
    """The block as the formulas of its paper say, one window after another."""
    batch, _, dim = x.shape
    window, overlap, heads = module.window, module.overlap, module.heads
    normed = module.norm1(x)
    border = (overlap - window) // 2
    maps = module.qkv(normed).reshape(batch, height, width, 3 * dim).permute(0, 3, 1, 2)
    padded = F.pad(maps, (border,) * 4)
    share = torch.sigmoid(module.ast_weight)
    result = torch.zeros(batch, dim, height, width)
    for top in range(0, height, window):
        for left in range(0, width, window):
            q = maps[:, :dim, top : top + window, left : left + window]
            kv = padded[:, dim:, top : top + overlap, left : left + overlap]
            q, k, v = (
                part.flatten(2).unflatten(1, (heads, -1)).transpose(2, 3)
                for part in (q, *kv.chunk(2, 1))
            )
            s = q @ k.transpose(2, 3) * module.scale + module.bias()
            w = share * torch.softmax(s, -1) + (1 - share) * torch.clamp(s, min=0) ** 2
            y = (w @ v).transpose(2, 3).reshape(batch, dim, window, window)
            result[:, :, top : top + window, left : left + window] = y
    x = x + module.proj(result.flatten(2).transpose(1, 2))
    return x + refined(module, module.norm2(x), height, width)


def refined(module: SparseOCAB, x: Tensor, height: int, width: int) -> Tensor:
    frfn, quarter = module.frfn, x.shape[-1] // 4
    image = x.transpose(1, 2).unflatten(2, (height, width))
    kernel = frfn.partial_conv3.weight
    image = torch.cat([F.conv2d(image[:, :quarter], kernel, padding=1), image[:, quarter:]], 1)
    wide = F.gelu(F.linear(image.permute(0, 2, 3, 1), *frfn.linear1[0].parameters()))
    first, second = wide.permute(0, 3, 1, 2).chunk(2, 1)
    depthwise = frfn.dwconv[0]
    first = F.gelu(
        F.conv2d(first, depthwise.weight, depthwise.bias, padding=1, groups=first.shape[1])
    )
    y = (first * second).permute(0, 2, 3, 1).flatten(1, 2)
    return F.linear(y, *frfn.linear2[0].parameters())


@pytest.mark.parametrize("changes", [{}, {"window_size": 8, "overlap_ratio": 0.75}])
def test_the_block_computes_its_formulas(changes: dict[str, float]) -> None:
    network = random_network(tiny_config(ast=True, **changes))
    module = network.layers[0].residual_group.overlap_attn
    window = network.config.window_size
    size = (2 * window, 3 * window)
    x = torch.randn(2, size[0] * size[1], network.config.embed_dim)
    with torch.no_grad():
        found, expected = module(x, size), plain(module, x, *size)
    assert expected.std() > 0.5
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_it_is_read_off_the_weights(tmp_path: Path, network: HAT) -> None:
    with torch.device("meta"):
        assert detect_config(HAT(HAT_S_AST).state_dict()) == HAT_S_AST
    assert HAT_S_AST.variant == "HAT-S with AST"
    assert HAT_S_AST.overlap_size == 28
    assert shape_of(HAT_S_AST.to_dict()) == HAT_S_AST
    save_checkpoint(network, tmp_path / "w.pth")
    loaded = load_network(tmp_path / "w.pth")
    assert loaded.config == CONFIG
    assert (run(loaded, picture(9, 8)) == run(network, picture(9, 8))).all()


def test_a_checkpoint_without_part_of_it_is_refused(tmp_path: Path, network: HAT) -> None:
    save_checkpoint(network, tmp_path / "w.pth")
    tensors = torch.load(tmp_path / "w.pth")["params_ema"]
    lost = "layers.0.residual_group.overlap_attn.frfn.dwconv.0.weight"
    torch.save({name: x for name, x in tensors.items() if name != lost}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=lost):
        load_network(tmp_path / "w.pth")
    with pytest.raises(ValueError, match="AST is part of OCAB"):
        tiny_config(ast=True, ocab=False)


def test_the_cost_is_what_the_network_does() -> None:
    for config in (CONFIG, HAT_S_AST):
        with torch.device("meta"):
            network = HAT(config).eval()
            x = torch.empty(1, 3, 32, 64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x)
        found = config.cost(32, 64)
        assert found.parameters == sum(p.numel() for p in network.parameters())
        assert found.multi_adds == counter.get_total_flops() // 2


def with_scores(value: float) -> HAT:
    """Every OCAB's scores are larger by ``value``, which softmax does not see and ReLU does."""
    network = random_network(CONFIG)
    with torch.no_grad():
        for group in network.layers:
            ocab = group.residual_group.overlap_attn
            each = (value / ocab.scale) ** 0.5
            for row in (0, 6, 12, 18):  # the first channel of both heads, of q and of k
                ocab.qkv.weight[row] = 0
                ocab.qkv.bias[row] = each
    return network.freeze()


def naive(
    self: SparseOCAB, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The formula as it is written, in the network's own precision."""
    *_, s = score(q, k, bias, mask, self.scale)
    share = torch.sigmoid(self.ast_weight.to(s.dtype))
    return (share * torch.softmax(s, -1) + (1 - share) * F.relu(s).square()) @ v


@pytest.mark.parametrize("value", [0.0, 300.0, 5000.0])
def test_squared_scores_beyond_half_precision_are_kept(value: float) -> None:
    network = with_scores(value)
    x = picture(24, 16, seed=3)
    peaks = measure(network, [x])
    beyond = max(peak.scores for peak in peaks if peak.kind == "OCAB") ** 2 > FP16_MAX
    assert beyond == (value > 0)
    # What fp16 has in half stays far from its limit; what fp16-pure has does not.
    assert ("not fp16-pure" in advice(peaks)) == beyond
    expected = run(network, x)
    for precision, floor in (("fp16", 60), ("bf16", 50)):
        found = run(Deployed(network.in_precision(precision), "float"), x)
        assert compare(expected, found).meets(floor)
    with mock.patch.object(SparseOCAB, "attend", naive):
        lost = run(Deployed(network.in_precision("fp16"), "float"), x)
    assert (compare(expected, lost).non_finite > 0) == beyond


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_exports_and_no_block_or_constant_differs(
    network: HAT, precision: str, exported: Callable[..., ExportReport]
) -> None:
    path = exported(network, tile=(16, 12), precision=precision).path
    (sample,) = noise(1, (16, 12), 3)
    assert layers.compare_blocks(path, network, sample).offender is None
    assert weights.foreign(path, network.in_precision(precision)) == []


@pytest.mark.slow
@pytest.mark.parametrize("made_for", ["any", "tensorrt"])
def test_a_plan_fuses_every_attention_but_those(
    tmp_path: Path, exported: Callable[..., ExportReport], made_for: str
) -> None:
    config = tiny_config(ast=True, embed_dim=32, window_size=8)
    network = random_network(config)
    source = exported(network, tile=(32, 24), precision="fp16", made_for=made_for).path
    plan = tmp_path / "x.plan"
    made = to_plan.build(source, plan, BuildOptions(gpus=("sm89",), flavour="rtx"))
    softmaxes = [node for node in onnx.load(source).graph.node if node.op_type == "Softmax"]
    assert made.programs is not None
    (program,) = made.programs
    assert program.fused_attentions == len(softmaxes) - len(config.depths)
