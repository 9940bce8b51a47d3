"""Models of a hub, from a server on loopback that speaks its protocol."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import runner
from hub import COMMIT, Hub, served
from tiny import random_network, tiny_config

from hat_deploy import artifact
from hat_deploy.artifact.resolve import Checkpoint, artifact_named, checkpoint_named, resolve
from hat_deploy.errors import CheckpointError, MissingExtraError, UsageError
from hat_deploy.files import sha256
from hat_deploy.networks.checkpoint import inspect, save_checkpoint

constants = pytest.importorskip("huggingface_hub.constants")
ORIGIN = f"hf:org/hat@{COMMIT}/tiny.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """One checkpoint, the config beside it, and what is none of ours."""
    weights = tmp_path / "tiny.safetensors"
    save_checkpoint(random_network(tiny_config(depths=(1,))), weights)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    files = {
        "tiny.safetensors": weights.read_bytes(),
        "config.json": json.dumps({"conv_scale": 0.25}).encode(),
        "README.md": b"# hat",
    }
    with served(Hub(files=files)) as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def downloaded(hub: Hub, named: str = "hf:org/hat") -> Checkpoint:
    found = checkpoint_named(named)
    hub.requests.clear()
    return found


def test_a_checkpoint_comes_with_its_config_and_is_pinned(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    found = resolve("hf:org/hat")
    assert isinstance(found, Checkpoint)
    assert (found.name, found.origin, found.shipped) == ("tiny", ORIGIN, None)
    assert found.path.read_bytes() == hub.files["tiny.safetensors"]
    assert inspect(found.path)[0].to_dict()["conv_scale"] == 0.25
    assert f"hf:org/hat is {ORIGIN}" in caplog.text
    assert {line.split()[0] for line in hub.requests} == {"GET", "HEAD"}


def test_the_hub_is_told_of_no_other_library(hub: Hub) -> None:
    resolve("hf:org/hat")
    assert hub.agents
    for agent in hub.agents:
        names = {part.strip().split("/")[0] for part in agent.split(";")}
        assert names == {"hat-deploy", "hf_hub", "python"}


@pytest.mark.parametrize("named", ["hf:org/hat@v1", "hf:org/hat@main/tiny.safetensors"])
def test_branches_and_tags_become_the_commit(hub: Hub, named: str) -> None:
    assert checkpoint_named(named).origin == ORIGIN


def test_what_is_pinned_and_there_asks_nobody(hub: Hub) -> None:
    before = downloaded(hub)
    assert checkpoint_named(ORIGIN) == before
    assert hub.requests == []


def test_a_file_named_for_nothing_takes_the_name_of_the_repository(hub: Hub) -> None:
    hub.files["model.safetensors"] = hub.files.pop("tiny.safetensors")
    assert checkpoint_named("hf:org/hat").name == "hat"


def test_several_checkpoints_are_listed(hub: Hub) -> None:
    hub.files["deep/other.pth"] = hub.files["tiny.safetensors"]
    with pytest.raises(UsageError, match=r"2 checkpoints: add one of deep/other.pth, tiny.safet"):
        resolve("hf:org/hat")
    assert checkpoint_named("hf:org/hat/deep/other.pth").origin.endswith("/deep/other.pth")  # type: ignore[union-attr]
    hub.files = {"README.md": b""}
    with pytest.raises(UsageError, match="has no checkpoint"):
        resolve("hf:org/hat")


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("hf:hat", "expected hf:ORG/NAME"),
        ("hf:org/hat/../../x.pth", "expected hf:ORG/NAME"),
        ("hf:org/hat@", "expected hf:ORG/NAME"),
        ("hf:org/none", "has no repository org/none, or it is private"),
        ("hf:org/hat@v9", "no branch, tag or commit v9"),
        ("hf:org/hat/none.pth", "org/hat at main has no file none.pth"),
        ("hf:org/hat/README.md", "README.md is no checkpoint"),
        ("hf:org/hat/hat.onnx", "hat.onnx is no checkpoint"),
        ("hf:-org-/hat", "no name of a repository"),
    ],
)
def test_a_wrong_name_is_told_apart(hub: Hub, named: str, says: str) -> None:
    assert artifact_named(named) is None
    with pytest.raises(UsageError, match=says):
        resolve(named)


def test_private_and_gated_repositories(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "secret"
    with pytest.raises(UsageError, match="private and HF_TOKEN"):
        resolve("hf:org/hat")
    monkeypatch.setenv("HF_TOKEN", "secret")
    resolve("hf:org/hat")
    hub.gated = True
    with pytest.raises(UsageError, match="granted access"):
        resolve("hf:org/hat")


@pytest.mark.parametrize("fault", ["gone", "offline", "busy"])
@pytest.mark.parametrize("named", ["hf:org/hat", "hf:org/hat/tiny.safetensors"])
def test_without_the_hub_what_was_downloaded_is_used(
    fault: str,
    named: str,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = downloaded(hub)
    if fault == "gone":
        with socket.socket() as nobody:  # bound and not listening: every connection is refused
            nobody.bind(("127.0.0.1", 0))
            closed = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", closed)
    elif fault == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        hub.status = 503
    assert checkpoint_named(named) == before
    assert "what was downloaded before is used" in caplog.text
    assert inspect(before.path)[0].to_dict()["conv_scale"] == 0.25
    for other in ("hf:org/hat/other.pth", "hf:org/other", "hf:org/hat@v1"):
        with pytest.raises(CheckpointError, match=r"not downloaded|reached|OFFLINE|answered 503"):
            resolve(other)


@pytest.mark.slow
def test_a_download_that_ends_early_leaves_nothing_to_run(hub: Hub) -> None:
    hub.cut = 1000
    with pytest.raises(CheckpointError, match=r"the download of tiny\.safetensors .* failed"):
        resolve("hf:org/hat")
    hub.cut = None
    assert checkpoint_named("hf:org/hat").path.read_bytes() == hub.files["tiny.safetensors"]


def test_other_bytes_than_the_hub_says_are_refused(hub: Hub) -> None:
    hub.spoiled = True
    for _ in range(2):
        with pytest.raises(CheckpointError, match="its SHA-256 is not the hub's; delete "):
            resolve("hf:org/hat")


@pytest.mark.slow
def test_commands_take_it_wherever_they_take_a_checkpoint(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = runner(monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    ended = run("export hf:org/hat -o tiny.onnx --tile 16")
    assert ended.code == 0, ended.err
    described = artifact.describe(tmp_path / "tiny.onnx")
    assert described.origin == ORIGIN
    assert described.checkpoint_sha256 == sha256(tmp_path / "tiny.safetensors")
    assert f"origin      {ORIGIN}" in run("info tiny.onnx").out
    assert run("info hf:org/hat").code == 0
    verified = run("verify --engine tiny.onnx --reference hf:org/hat --no-whole --random 1")
    assert verified.code == 0, verified.err
    assert run("export hf:org/none -o x.onnx").refused("no repository org/none")


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[hub\]'"):
        resolve("hf:org/hat")
