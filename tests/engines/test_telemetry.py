"""Nothing that is installed beside this package reports on its users."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# Every event of a socket is an attempt to reach somebody, looking up a name included. They go to
# a file, for OpenVINO's reporter sends from a process of its own.
LISTEN = """
import json, os, sys
from pathlib import Path
heard = Path(os.environ["HEARD"]).open("a", buffering=1)
def listen(event, args):
    if event.startswith("socket."):
        heard.write(event + chr(10))
sys.addaudithook(listen)
"""
RUN = """
import numpy as np
from hat_deploy.engines import doctor
from hat_deploy.engines import BACKENDS, open_artifact
for backend in BACKENDS:
    with open_artifact(Path(sys.argv[1]), backend=backend, threads=1) as engine:
        engine.run(np.zeros(engine.input.shape, np.float32))
usable = {finding.engine for finding in doctor.examine() if finding.usable}
assert usable >= {"onnxruntime, cpu", "openvino, cpu, fp32"}
"""
TELL = """
print(json.dumps(os.environ.get("ORT_DISABLE_TELEMETRY")))
"""


def told(
    home: Path, code: str, *arguments: str, environment: dict[str, str] | None = None
) -> tuple[list[str], str | None]:
    """Events of sockets, and the variable in the end, of a process with a home of its own."""
    heard = home.with_name("heard")
    unset = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "ORT_DISABLE_TELEMETRY")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    child = subprocess.run(
        [sys.executable, "-c", LISTEN + code + TELL, *arguments],
        env=inherited
        | {
            "HOME": str(home),
            "HEARD": str(heard),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return heard.read_text().splitlines(), json.loads(child.stdout.splitlines()[-1])


def test_no_engine_reaches_for_the_network_or_writes_at_home(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert told(home, RUN, str(tiny_onnx)) == ([], "1")
    assert list(home.rglob("*")) == []


def test_the_command_line_is_silent_too(tiny_onnx: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = """
import cv2, numpy as np
from hat_deploy.cli import main
folder = Path(sys.argv[2])
cv2.imwrite(str(folder / "a.png"), np.zeros((9, 9, 3), np.uint8))
engine, source, target = sys.argv[1], str(folder / "a.png"), str(folder / "large")
sys.argv = ["", "upscale", source, "-o", target, "--engine", engine]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert len(list(folder.glob("**/*.png"))) == 2
"""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert told(home, code, str(tiny_onnx), str(pictures)) == ([], "1")
    assert list(home.rglob("*")) == []


def test_who_has_chosen_is_left_alone(tmp_path: Path) -> None:
    code = """
import types
sys.modules["openvino_telemetry"] = chosen = types.ModuleType("openvino_telemetry")
import hat_deploy
assert sys.modules["openvino_telemetry"] is chosen
"""
    environment = {"ORT_DISABLE_TELEMETRY": "0"}
    assert told(tmp_path / "home", code, environment=environment) == ([], "0")
