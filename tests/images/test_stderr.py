"""Complaints of C libraries do not reach the terminal; Python's own do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = r"""
import os, sys
sys.path.insert(0, sys.argv[2])
from picture_files import RGB, saved
from hat_deploy.errors import PictureError
from hat_deploy.images import decode_bytes
from hat_deploy.images.stderr import libraries_silenced

data = bytearray(saved(RGB, "JPEG"))
data[-200:-198] = b"\xff\xd9"  # an end in the middle

def damaged():
    try:
        decode_bytes(bytes(data))
    except PictureError:
        pass

os.write(2, b"before\n")
if sys.argv[1] == "silenced":
    with libraries_silenced():
        damaged()
        print("said", file=sys.stderr)
else:
    damaged()
os.write(2, b"after\n")
print("last", file=sys.stderr)
"""


@pytest.mark.parametrize("how", ["silenced", "heard"])
def test_a_damaged_jpeg_is_complained_about_unless_libraries_are_silenced(how: str) -> None:
    command = [sys.executable, "-c", SCRIPT, how, Path(__file__).parent]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if how == "silenced":
        assert done.stderr.splitlines() == ["before", "said", "after", "last"]
    else:
        assert "Corrupt JPEG" in done.stderr
