"""The PyTorch side of the harness for TensorRT 8.6: a network, an input and what must come out.

    PYTHONPATH=.:tests python tests/gpu/harness_prepare.py FOLDER [--network HAT-S] [--tile 64]

Afterwards, with Python 3.10, TensorRT 8.6, numpy and cuda-python, and nothing else:

    PYTHONPATH=. python3.10 tests/gpu/harness.py FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from tiny import random_network, tiny_config

from hat_deploy.engines.torch import TorchEngine
from hat_deploy.export.to_onnx import ExportOptions, describe, write
from hat_deploy.networks.hat.config import VARIANTS, HATConfig

OPSET = 17
"""The newest that TensorRT 8.6 reads."""


def to_opset_17(model: onnx.ModelProto) -> onnx.ModelProto:
    """Say in opset 17 what an export says in 18.

    Only three of its operators changed: Split counts its outputs itself, ReduceMean takes its
    axes as an attribute, Pad has no axes.
    """
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Split":
            kept = [a for a in node.attribute if a.name != "num_outputs"]
            del node.attribute[:]
            node.attribute.extend(kept)
        elif node.op_type == "ReduceMean" and len(node.input) == 2:
            axes = constants[node.input.pop()]
            kept = [a for a in node.attribute if a.name != "noop_with_empty_axes"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("axes", axes.tolist())])
        elif node.op_type == "Pad" and len(node.input) > 3:
            raise ValueError(f"{node.name} pads named axes, which opset {OPSET} cannot say")
    model.opset_import[0].version = OPSET
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def prepare(folder: Path, config: HATConfig, tile: tuple[int, int], batch: int) -> None:
    """Write ``network.onnx``, ``input.npy`` and ``reference.npy``."""
    folder.mkdir(parents=True, exist_ok=True)
    network = random_network(config)
    options = ExportOptions(tile=tile, batch=batch, opset=18)
    path = folder / "network.onnx"
    write(network, path, describe(network, options, model="harness", checkpoint_sha256="0" * 64))
    onnx.save(to_opset_17(onnx.load(path)), path)
    shape = (batch, config.in_channels, *tile)
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    np.save(folder / "input.npy", pixels)
    with TorchEngine(network, tile=tile, batch=batch) as reference:
        np.save(folder / "reference.npy", reference.run(pixels))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=["tiny", *VARIANTS], default="tiny")
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args(arguments)
    config = tiny_config() if options.network == "tiny" else VARIANTS[options.network]
    prepare(options.folder, config, (options.tile, options.tile), options.batch)


if __name__ == "__main__":
    main()
