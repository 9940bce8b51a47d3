"""Which layers stay in fp32: by their values, by their rounding, and as few as it takes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from tiny import FP16_MAX, amplified, picture, random_network, tiny_config
from torch import Tensor, nn

from hat_deploy.networks import mixed
from hat_deploy.networks.assignment import OWN, Assignment
from hat_deploy.networks.hat.blocks import Attention
from hat_deploy.networks.hat.islands import halved
from hat_deploy.networks.hat.network import HAT
from hat_deploy.networks.search import Layer, advice, measure, search
from hat_deploy.precision import Precision


class Small(nn.Module):
    """Convolutions around a residual sum, changed in place, and an attention."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)
        self.factor = factor
        with torch.no_grad():
            for parameter in self.wide.parameters():
                parameter.mul_(factor)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        kept = y
        F.relu(y, inplace=True)
        y = y + self.wide(y) + kept
        y /= self.factor
        q = y.flatten(2).transpose(1, 2)
        z = F.scaled_dot_product_attention(q, q, q).transpose(1, 2).unflatten(2, y.shape[-2:])
        z.add_(y)
        return self.last(z - z.mean(dim=(2, 3), keepdim=True))


def batches() -> list[Tensor]:
    return [picture(12, 12, batch=2), torch.zeros(1, 3, 12, 12)]


def found_for(network: nn.Module, precision: str = "fp16", floor: float = 60) -> Assignment:
    return search(network, batches(), Precision.of(precision), floor=floor)


def psnr(network: nn.Module, assignment: Assignment, *, emulated: bool = False) -> float:
    """Of a converted copy, in PyTorch's own half precision, on an image."""
    import copy

    x = batches()[0]
    other = copy.deepcopy(network)
    converted = mixed.Mixed(other, assignment)
    with torch.inference_mode():
        expected = network(x).double()
        if emulated:
            with converted.emulated(), converted.mode:
                y = other(x)
        else:
            with converted.mode:
                y = other(x)
    return float(-10 * (y.double() - expected).square().mean().log10())


def test_ordinary_weights_are_all_in_half() -> None:
    found = found_for(Small())
    assert (found.wide, found.scaled, found.share) == ({}, (), 1.0)
    assert found.layers == 4
    assert psnr(Small(), found) > 60
    assert psnr(Small(), found, emulated=True) == pytest.approx(psnr(Small(), found), abs=1)


def test_a_network_without_any_rounding_is_all_in_half() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()).eval().requires_grad_(False)
    network[0].weight.copy_(torch.eye(3)[..., None, None])
    network[0].bias.zero_()
    found = search(network, [torch.ones(1, 3, 8, 8)], Precision.FP16, floor=60)
    assert (found.wide, found.share, found.psnr) == ({}, 1, 999)


def test_every_layer_is_measured_with_its_multi_adds() -> None:
    layers = {layer.name: layer for layer in measure(Small(), batches())}
    assert list(layers) == ["first", OWN, "wide", "last"]
    assert layers["wide"].kind == "Conv2d"
    assert layers["wide"].multi_adds == 3 * 12 * 12 * 8 * 8 * 9
    assert layers[OWN].multi_adds == 3 * 2 * 8 * 144 * 144


@pytest.mark.parametrize("factor", [2.0**20, 2.0**24])
def test_values_beyond_half_stay_wide_and_their_weights_are_scaled(factor: float) -> None:
    network = Small(factor)
    found = found_for(network)
    assert "values are too large" in found.wide[OWN]
    assert "first" not in found.wide and "last" not in found.wide
    assert psnr(network, found) > 60
    assert not psnr(network, Assignment(**asdict(found) | {"wide": {}})) > 60


def test_rounding_widens_the_fewest_and_says_how_much_each_costs() -> None:
    network = Small()
    with torch.no_grad():
        network.last.bias.fill_(300.0)
    found = found_for(network)
    assert list(found.wide) == ["last"]
    assert "its rounding shows" in found.wide["last"]
    assert psnr(network, found) > 60


def test_bf16_has_range_and_fewer_digits() -> None:
    network = Small(2.0**24)
    found = found_for(network, "bf16", 50)
    assert not any("too large" in why for why in found.wide.values())
    assert psnr(network, found) > 50


def test_in_place_changes_are_seen_by_others_whatever_the_precisions() -> None:
    """ "first" is in half where the sum is wide: what relu changed in place is taken twice."""
    found = Assignment(precision="fp16", layers=4, wide={OWN: "x"}, scaled=(), share=1.0, psnr=60.0)
    assert psnr(Small(), found) > 60
    assert psnr(Small(), found, emulated=True) > 60


def test_a_network_is_left_as_it_was() -> None:
    network = Small(2.0**20)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found_for(network)
    assert all(torch.equal(before[name], x) for name, x in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_an_assignment_is_read_back_and_a_damaged_one_refused() -> None:
    found = found_for(Small(2.0**20))
    values = json.loads(json.dumps(asdict(found)))
    assert Assignment.from_dict(values) == found
    for change in ({"wide": ["a"]}, {"scaled": "a"}, {"share": "1"}, {"other": 1}):
        with pytest.raises(ValueError, match="assignment"):
            Assignment.from_dict(values | change)


def test_values_of_other_images_are_held_against_an_assignment() -> None:
    found = found_for(Small())
    layer = Layer(name="first", kind="Conv2d", taken=1.0, given=FP16_MAX / 2, multi_adds=1)
    assert "use bf16 or fp32" in advice([layer], found)
    assert "use bf16" not in advice(measure(Small(), batches()), found)


@pytest.mark.slowest
@pytest.mark.parametrize("factor", [1.0, 2.0**14, 2.0**18])
def test_a_hat_gets_no_worse_a_policy_than_the_one_written_by_hand(factor: float) -> None:
    """At the PSNR of the policy by hand, a search has no fewer multi-adds in half."""
    network = random_network(tiny_config()) if factor == 1 else amplified(tiny_config(), factor)
    images = [picture(8, 8), torch.zeros(1, 3, 8, 8)]
    converted = network.in_precision("fp16")
    with torch.inference_mode(), converted.spelled_out(), network.spelled_out():
        errors = [(converted(x) - network(x)).double().square().mean() for x in images]
        by_hand = -10 * math.log10(max(errors))
        layers = measure(network, images)
        found = search(network, images, Precision.FP16, floor=by_hand - 3)
    assert found.psnr >= by_hand - 3
    assert found.share >= _share_by_hand(network, layers)


def _share_by_hand(network: HAT, layers: list[Layer]) -> float:
    half = {id(getattr(holder, name)) for holder, name, _ in halved(network)}
    half |= {id(module) for module in network.modules() if isinstance(module, Attention)}
    names = {name for name, module in network.named_modules() if id(module) in half}
    in_half = sum(layer.multi_adds for layer in layers if layer.name in names)
    return in_half / sum(layer.multi_adds for layer in layers)
