from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from hat_deploy import artifact
from hat_deploy.artifact import METADATA_KEY, describe
from hat_deploy.errors import ArtifactError
from hat_deploy.export.to_onnx import ExportReport


def test_an_onnx_file_describes_itself(tiny_report: ExportReport) -> None:
    assert describe(tiny_report.path) == tiny_report.description


def test_the_description_is_where_onnx_keeps_metadata(tiny_onnx: Path) -> None:
    props = {p.key: p.value for p in onnx.load(tiny_onnx).metadata_props}
    assert list(props) == [METADATA_KEY]


def test_an_onnx_file_from_elsewhere_is_refused(tmp_path: Path, tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    del model.metadata_props[:]
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match="was not made by 'hat-deploy export'"):
        describe(path)


def test_a_newer_description_is_refused(tmp_path: Path, tiny_report: ExportReport) -> None:
    newer = replace(tiny_report.description, format=artifact.FORMAT + 1)
    with pytest.raises(ArtifactError, match="upgrade hat-deploy"):
        artifact.Description.from_json(newer.to_json(), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": "x"}', "null"])
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArtifactError, match="damaged description"):
        artifact.Description.from_json(text, tmp_path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, tiny_onnx: Path) -> None:
    whole = tiny_onnx.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in (0, 1, 5, 100, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            describe(path)


@pytest.mark.parametrize("content", [b"hello, this is text", b"\x89PNG\r\n\x1a\n", b"\0" * 64])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        describe(path)


def test_missing_and_misnamed_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a file"):
        describe(tmp_path / "none.onnx")
    other = tmp_path / "x.txt"
    other.write_text("x")
    with pytest.raises(ArtifactError, match=r"suffix \.txt"):
        describe(other)
