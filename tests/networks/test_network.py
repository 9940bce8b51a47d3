from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from tiny import picture, random_network, randomise, tiny_config

from hat_deploy.geometry import reflect_indices
from hat_deploy.networks.hat.config import VARIANTS
from hat_deploy.networks.hat.network import HAT


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 5), (4, 4), (9, 2)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_any_size_is_upscaled(size: tuple[int, int], scale: int) -> None:
    network = random_network(tiny_config(scale))
    with torch.no_grad():
        y = network(picture(*size, batch=2))
    assert y.shape == (2, 3, scale * size[0], scale * size[1])
    assert torch.isfinite(y).all()


def test_a_small_picture_is_a_reflected_one_cropped() -> None:
    network = random_network(tiny_config())
    x = picture(3, 5)
    rows, columns = reflect_indices(3, range(4)), reflect_indices(5, range(8))
    with torch.no_grad():
        padded = network(x[:, :, rows][..., columns])
        assert torch.equal(network(x), padded[..., :6, :10])


@pytest.mark.parametrize(("name", "millions"), [("HAT-S", 9.62), ("HAT", 20.77), ("HAT-L", 40.85)])
def test_parameters_of_the_published_variants(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = HAT(VARIANTS[name])
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_state_dict_holds_parameters_only() -> None:
    """Masks, indices and frozen biases follow from the config: a checkpoint has none of them."""
    network = HAT(tiny_config())
    names = dict(network.named_parameters()).keys()
    assert network.state_dict().keys() == names
    assert network.freeze().state_dict().keys() == names


def test_freezing_changes_no_pixel() -> None:
    network = HAT(tiny_config()).eval()
    randomise(network)
    x = picture(8, 12)
    with torch.no_grad():
        plain = network(x)
        assert torch.equal(network.freeze()(x), plain)


def test_frozen_biases_follow_new_weights_and_training() -> None:
    network = random_network(tiny_config(), seed=1)
    x = picture(8, 12)
    other = random_network(tiny_config(), seed=2)
    with torch.no_grad():
        expected = other(x)
        network.load_state_dict(other.state_dict())
        assert torch.equal(network(x), expected)
        network.freeze().train()
        assert torch.equal(network(x), expected)


def test_training_reaches_every_parameter() -> None:
    network = random_network(tiny_config()).train()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("attention.1.bias"):
                parameter.fill_(2.0)  # past the ReLU, which stops some gradients otherwise
    network(picture(8, 8)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_layers_kept_from_training_stay_so() -> None:
    network = HAT(tiny_config())
    network.conv_first.requires_grad_(False)
    network.train()
    assert not network.conv_first.weight.requires_grad
    assert network.conv_last.weight.requires_grad


def test_frozen_asks_for_no_gradient() -> None:
    assert not random_network(tiny_config())(picture(4, 4)).requires_grad


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-5), (torch.bfloat16, 0.1), (torch.float16, 0.01)],
    ids=str,
)
@pytest.mark.parametrize("frozen", [True, False])
def test_other_precisions(dtype: torch.dtype, tolerance: float, frozen: bool) -> None:
    network = random_network(tiny_config())
    x = picture(8, 12)
    with torch.no_grad():
        expected = network(x)
        other = copy.deepcopy(network) if frozen else HAT(network.config).eval()
        other.load_state_dict(network.state_dict())
        other = (other.freeze() if frozen else other).to(dtype)
        y = other(x.to(dtype))
    assert y.dtype == dtype
    assert (y.double() - expected.double()).abs().max() < tolerance


def test_a_picture_does_not_depend_on_its_batch() -> None:
    network = random_network(tiny_config())
    x = picture(8, 12, batch=3)
    with torch.no_grad():
        together = network(x)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], network(x[i : i + 1]))


@pytest.mark.parametrize(
    "changes",
    [{"ocab": False}, {"cab": False}, {"channel_attention": False}, {"ocab": False, "cab": False}],
    ids=str,
)
def test_ablations_have_no_trace_of_the_part(changes: dict[str, bool]) -> None:
    network = random_network(tiny_config(**changes))
    parts = {"ocab": "overlap_attn", "cab": "conv_block", "channel_attention": ".attention."}
    absent = [parts[name] for name in changes]
    assert not [name for name in network.state_dict() if any(part in name for part in absent)]
    whole = random_network(tiny_config())
    assert all(any(part in name for name in whole.state_dict()) for part in absent)
    with torch.no_grad():
        assert network(picture(5, 9)).shape == (1, 3, 10, 18)


def test_alpha_weighs_cab() -> None:
    x = picture(8, 8)
    with torch.no_grad():
        outputs = [random_network(tiny_config(conv_scale=alpha))(x) for alpha in (0.0, 0.01, 1.0)]
    small = (outputs[1] - outputs[0]).abs().max()
    large = (outputs[2] - outputs[0]).abs().max()
    assert 0 < small < 0.1 * large


def test_gray_has_no_mean_and_colour_has() -> None:
    assert HAT(replace(tiny_config(), in_channels=1)).mean.tolist() == [[[[0.0]]]]
    assert HAT(tiny_config()).mean.flatten().tolist() == pytest.approx([0.4488, 0.4371, 0.4040])
