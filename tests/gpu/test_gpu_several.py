"""All GPUs of one machine, where there are several."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import random_network, tiny_config

from hat_deploy import Upscaler
from hat_deploy.engines.base import Engine
from hat_deploy.engines.cuda import driver
from hat_deploy.engines.cuda.driver import count, local_gpu, local_gpu_name
from hat_deploy.engines.several import count_of
from hat_deploy.errors import HatDeployError
from hat_deploy.export.to_onnx import ExportOptions, describe, write

pytestmark = pytest.mark.gpu
TILE = (24, 16)


@pytest.fixture(autouse=True)
def _several() -> None:
    if count() < 2:
        pytest.skip(f"this machine has {count()} GPU")


def upscaler(model: str | Path, device: str) -> Upscaler:
    try:
        return Upscaler(model, device=device)
    except HatDeployError as reason:
        pytest.skip(str(reason))


def compare(model: str | Path, executed: Callable[[Engine], None]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 130, 3), np.uint8)
    with upscaler(model, "cuda") as one, upscaler(model, "cuda:all") as every:
        assert count_of(every.engine) == count()
        assert one.settings == every.settings
        expected, found = one.upscale(pixels), every.upscale(pixels)
        executed(every.engine)
    if len({local_gpu_name(number) for number in range(count())}) == 1:
        np.testing.assert_array_equal(expected, found)
    else:
        assert np.abs(expected.astype(int) - found).max() <= 1


@pytest.mark.parametrize("io", ["float", "uint8"])
def test_onnx_runtime(tmp_path: Path, io: str, executed: Callable[[Engine], None]) -> None:
    network = random_network(tiny_config())
    path = tmp_path / "tiny.onnx"
    chosen = ExportOptions(tile=TILE, batch=2, io=io)
    write(network, path, describe(network, chosen, model="tiny", checkpoint_sha256="00" * 32))
    compare(path, executed)


def test_what_is_made_of_a_checkpoint(
    tiny_checkpoint: Path, executed: Callable[[Engine], None]
) -> None:
    if len({local_gpu(number) for number in range(count())}) > 1:
        with pytest.raises(HatDeployError, match="GPUs of one compute capability"):
            Upscaler(tiny_checkpoint, device="cuda:all")
        return
    compare(tiny_checkpoint, executed)


def test_each_computes_on_a_gpu_of_its_own(
    tiny_checkpoint: Path, executed: Callable[[Engine], None]
) -> None:
    library = driver._library()
    assert library is not None
    with upscaler(tiny_checkpoint, "cuda:all") as every:
        every.upscale(np.zeros((150, 130, 3), np.uint8))
        for number in range(count()):
            device, flags, active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
            assert library.cuDeviceGet(ctypes.byref(device), number) == 0
            asked = (device, ctypes.byref(flags), ctypes.byref(active))
            assert library.cuDevicePrimaryCtxGetState(*asked) == 0
            assert active.value == 1
        executed(every.engine)
