"""Files of other kinds, named in the refusal."""

from __future__ import annotations

import pytest
from picture_files import refusal


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the file is empty"),
        (b"hello\n", "it is a text file"),
        (b"  <!DOCTYPE html><p>", "it is an HTML page"),
        (b"<?xml version='1.0'?><svg>", "it is an SVG drawing"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "it is a HEIC image or a video"),
        (b"RIFF\x10\0\0\0WAVE" + bytes(16), "it is a file of unknown kind"),
        (bytes(100), "it is a file of zeros"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
    ],
)
def test_other_files_are_named(data: bytes, expected: str) -> None:
    assert refusal(data).startswith(expected)
