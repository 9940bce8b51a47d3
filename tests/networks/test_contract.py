"""What a network is to the rest of the program, and who looks behind it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from tiny import tiny_config

from hat_deploy import networks
from hat_deploy.networks.checkpoint import build
from hat_deploy.networks.hat.config import HATConfig
from hat_deploy.networks.hat.cost import cost, memory, process_memory
from hat_deploy.networks.network import Network

PACKAGE = Path(networks.__file__).parents[1]


def test_a_shape_says_what_its_network_is_and_costs() -> None:
    config = tiny_config()
    shape: networks.Shape = networks.shape_of(config.to_dict())
    assert shape == config
    assert (shape.scale, shape.channels) == (config.scale, config.in_channels)
    side = 2 * shape.window
    assert shape.cost(side, side) == cost(config, side, side)
    assert shape.memory(side, side, fused=False) == memory(config, side, side, fused=False)
    assert shape.process_memory(side, side) == process_memory(config, side, side)


def test_two_shapes_differ_by_name() -> None:
    config = tiny_config()
    assert config.differences(config) == {}
    other = replace(config, conv_scale=1.0, shift=False)
    assert config.differences(other) == {"conv_scale": (0.01, 1.0), "shift": (True, False)}


def test_a_network_of_a_shape_is_built_and_converted() -> None:
    network = build(networks.shape_of(tiny_config().to_dict()))
    assert isinstance(network, Network)
    assert isinstance(network.config, HATConfig)
    assert network.in_precision("fp32") is network
    assert network.in_precision("fp16-pure").dtype != network.dtype


def test_only_the_networks_folder_knows_their_classes() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        text = path.read_text(encoding="utf-8")
        if re.search(r"hat_deploy\.networks\.(hat|swinir|by_spandrel)\b", text):
            found.add(place.as_posix())
    assert not {place for place in found if not place.startswith("networks/")}
