"""The precisions there are, and who may know of them without loading anything."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest

from hat_deploy.artifact import PRECISIONS
from hat_deploy.cli.bench import ReferencePrecision
from hat_deploy.cli.options import ComputeName
from hat_deploy.precision import NEWEST_OPSET, OLDEST_OPSET, OPENVINO, PLAIN, Precision


def test_a_precision_is_its_name() -> None:
    for precision in Precision:
        assert f"{precision}" == str(precision) == precision.value == precision
        assert Precision.of(precision.value) is precision
        assert json.dumps({"precision": precision}) == f'{{"precision": "{precision.value}"}}'
        assert pickle.loads(pickle.dumps(precision)) is precision
    assert tuple(Precision) == PRECISIONS
    with pytest.raises(ValueError, match="int8: use one of fp32, fp16, bf16, fp16-pure"):
        Precision.of("int8")


def test_what_is_wider_ends_and_never_returns() -> None:
    for precision in Precision:
        for wider in precision.wider:
            assert set(wider.wider) < {*precision.wider, wider} - {precision}
    assert Precision.FP16_PURE.wider == (Precision.FP16, Precision.BF16)


def test_every_precision_fits_an_opset_that_can_be_exported() -> None:
    assert all(OLDEST_OPSET <= precision.opset <= NEWEST_OPSET for precision in Precision)


def test_options_offer_what_there_is() -> None:
    assert [name.value for name in ComputeName] == [*OPENVINO]
    assert sorted(name.value for name in ReferencePrecision) == sorted(PLAIN)


def test_limits_are_a_value_that_loads_neither_export_nor_pytorch() -> None:
    code = (
        "import sys\n"
        "from hat_deploy.verify.fidelity import Limits\n"
        "assert Limits.of('fp16').min_psnr == 60\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "hat_deploy.precision" in loaded
    assert not {name for name in loaded if name.startswith("hat_deploy.export")}
    assert not loaded & {"torch", "onnx", "onnxruntime", "openvino"}
