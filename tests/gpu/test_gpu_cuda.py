"""The CUDA interface on a real device, through each library that is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hat_deploy.engines.cuda.base import Cuda, CudaError
from hat_deploy.engines.cuda.driver import local_gpu, local_gpu_name

pytestmark = pytest.mark.gpu
SIZE = 1 << 20


@pytest.fixture(params=["cuda.bindings", "pycuda.driver"])
def device(request: pytest.FixtureRequest) -> Iterator[Cuda]:
    pytest.importorskip(request.param)
    if request.param == "cuda.bindings":
        from hat_deploy.engines.cuda.cuda_python import CudaPython as Library
    else:
        from hat_deploy.engines.cuda.pycuda import PyCuda as Library
    device = Library()
    yield device
    device.close()


def test_it_agrees_with_the_driver(device: Cuda, executed: Callable[[str], None]) -> None:
    assert (device.gpu.sm, device.gpu.name) == (local_gpu(), local_gpu_name())
    free, total = device.memory()
    assert 0 < free <= total
    executed(f"{device.name} on {device.gpu.name}")


def test_bytes_come_back(device: Cuda) -> None:
    source, target = device.allocate_pinned(SIZE), device.allocate_pinned(SIZE)
    address, stream = device.allocate(SIZE), device.create_stream()
    assert address % 256 == 0
    source[:] = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    device.copy_in(address, source, stream)
    device.copy_out(target, address, stream)
    device.synchronize(stream)
    assert np.array_equal(source, target)
    device.destroy_stream(stream)
    device.free(address)
    device.free_pinned(source)
    device.free_pinned(target)


def test_a_recorded_copy_runs_when_it_is_launched(device: Cuda) -> None:
    source, target = device.allocate_pinned(SIZE), device.allocate_pinned(SIZE)
    address, stream = device.allocate(SIZE), device.create_stream()

    def work() -> None:
        device.copy_in(address, source, stream)
        device.copy_out(target, address, stream)

    graph = device.capture(stream, work)
    if graph is None:
        pytest.skip(f"{device.name} has no graphs")
    for value in (1, 2):
        source.fill(value)
        device.launch(graph, stream)
        device.synchronize(stream)
        assert (target == value).all()
    device.destroy_graph(graph)
    device.destroy_stream(stream)
    device.free(address)
    device.free_pinned(source)
    device.free_pinned(target)


def test_a_capture_that_fails_leaves_the_stream_usable(device: Cuda) -> None:
    stream = device.create_stream()

    def work() -> None:
        raise CudaError("work", 1, "cudaErrorInvalidValue")

    if device.name.startswith("pycuda"):
        pytest.skip("pycuda has no graphs")
    with pytest.raises(CudaError, match="work"):
        device.capture(stream, work)
    device.synchronize(stream)
    assert device.capture(stream, lambda: None) is not None
    device.destroy_stream(stream)


def test_too_much_is_out_of_memory_and_can_be_gone_on_from(device: Cuda) -> None:
    with pytest.raises(CudaError) as error:
        device.allocate(1 << 45)
    assert error.value.out_of_memory
    device.free(device.allocate(SIZE))
