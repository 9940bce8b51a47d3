"""Bound input and output, tried out in memory of the CPU: the same calls as on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hat_deploy.engines import onnxruntime
from hat_deploy.engines.onnxruntime import Bound, OnnxRuntimeEngine
from hat_deploy.errors import ArtifactError


@pytest.fixture
def engine(tiny_onnx: Path) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(tiny_onnx, threads=1)


def test_bound_memory_gives_what_a_plain_call_gives(engine: OnnxRuntimeEngine) -> None:
    bound = Bound(engine._session, engine._ports, "cpu")
    rng = np.random.default_rng(0)
    batches = [rng.random(engine.input.shape, np.float32) for _ in range(3)]
    results = [bound.run((batch,))[0] for batch in batches]
    for batch, result in zip(batches, results, strict=True):
        assert np.array_equal(result, engine.run(batch))
        assert result.flags.c_contiguous


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Failed to allocate memory for requested buffer of size 9",
            "failed: there is not enough memory",
        ),
        (
            "CUDA error cudaErrorMemoryAllocation:out of memory",
            "failed: there is not enough memory",
        ),
        ("Non-zero status code\n returned", "ONNX Runtime failed: Non-zero status code returned"),
    ],
)
def test_what_fails_is_one_sentence(
    engine: OnnxRuntimeEngine, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    bound = Bound(engine._session, engine._ports, "cpu")

    def fail(binding: object) -> None:
        raise onnxruntime.ort.capi.onnxruntime_pybind11_state.RuntimeException(text)

    monkeypatch.setattr(engine._session, "run_with_iobinding", fail)
    with pytest.raises(ArtifactError, match=says) as error:
        bound.run((np.zeros(engine.input.shape, np.float32),))
    assert "\n" not in str(error.value)
