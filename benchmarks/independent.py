"""Another implementation of HAT, spandrel's, as one more contender to time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hat_deploy.bench.contenders import Contender
from hat_deploy.engines.base import Array, EngineBase, TensorSpec, check_batch
from hat_deploy.networks.by_spandrel.library import make_torchvision_importable
from hat_deploy.networks.weights import load_state_dict


@dataclass(frozen=True, kw_only=True)
class IndependentContender(Contender):
    """The checkpoint ``file`` in spandrel's network, in fp32 on the CPU."""

    def open(self, threads: int) -> IndependentEngine:
        torch.set_num_threads(threads)
        return IndependentEngine(self)


class IndependentEngine(EngineBase):
    """Spandrel's network, called as its users call it: eagerly, without gradients."""

    def __init__(self, contender: IndependentContender) -> None:
        make_torchvision_importable()
        from spandrel.architectures.HAT import HATArch  # type: ignore[import-untyped]

        assert contender.file is not None
        self._network = HATArch().load(load_state_dict(contender.file.path)).model.eval()
        self._window = contender.config.window_size
        height, width = contender.tile
        scale, channels = contender.config.scale, contender.config.in_channels
        self._input = _spec("input", contender.batch, channels, height, width)
        self._output = _spec("output", contender.batch, channels, height * scale, width * scale)

    @property
    def name(self) -> str:
        return f"spandrel, torch {torch.__version__}, cpu, fp32"

    def run(self, batch: Array) -> Array:
        check_batch(self.input, batch)
        with torch.inference_mode():
            return np.ascontiguousarray(self._network(torch.from_numpy(batch)).numpy())

    def close(self) -> None:
        del self._network


def _spec(name: str, batch: int, channels: int, height: int, width: int) -> TensorSpec:
    return TensorSpec(name, (batch, channels, height, width), "float32", "NCHW")
