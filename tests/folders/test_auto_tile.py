from __future__ import annotations

from pathlib import Path

import pytest
from fakes import IdentityEngine
from folder_runs import picture

from hat_deploy import artifact, folders
from hat_deploy.api import Upscaler
from hat_deploy.artifact import zoo
from hat_deploy.errors import UsageError
from hat_deploy.files import sha256
from hat_deploy.folders import auto_tile, job_list
from hat_deploy.machine import available_memory

OPTIONS = folders.Options()


def jobs_of(folder: Path) -> list[job_list.Job]:
    return job_list.list_jobs([folder], mark="-x2", output=None, recursive=True).jobs


def test_a_model_that_ships_takes_any_tile_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU it would have to be exported for it."""
    picture(tmp_path / "in" / "a.png", (20, 20))
    monkeypatch.setattr(auto_tile, "find_spec", lambda name: None)
    jobs = jobs_of(tmp_path / "in")
    _, _, why = auto_tile.choose_tile(jobs, zoo.DEFAULT, OPTIONS, gpu=False)
    assert "pixels computed" in why
    tile, batch, why = auto_tile.choose_tile(jobs, zoo.DEFAULT, OPTIONS, gpu=True)
    assert (tile, batch) == (artifact.describe(zoo.find(zoo.DEFAULT).onnx).tile, 1)
    assert "without torch" in why


def test_pictures_decide(tmp_path: Path, tiny_checkpoint: Path) -> None:
    picture(tmp_path / "in" / "a.png", (100, 200))
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    tile, batch, why = auto_tile.choose_tile(
        jobs_of(tmp_path / "in"), str(tiny_checkpoint), OPTIONS, gpu=False
    )
    assert (tile, batch) == ((100, 200), 1)
    assert why.startswith("tile 100x200: 1.00 pixels computed")


def test_a_run_that_goes_on_keeps_its_tile(tmp_path: Path, tiny_checkpoint: Path) -> None:
    class OfTheCheckpoint(Upscaler):
        """What an artifact of it would leave in the journal."""

        def __init__(self) -> None:
            super().__init__(IdentityEngine((24, 16)))
            checkpoint = sha256(tiny_checkpoint)
            self.settings = {**self.settings, "checkpoint": checkpoint}

    picture(tmp_path / "in" / "a.png", (100, 200))
    list(folders.run(jobs_of(tmp_path / "in"), OfTheCheckpoint()))
    tile, batch, why = auto_tile.choose_tile(
        jobs_of(tmp_path / "in"), str(tiny_checkpoint), OPTIONS, gpu=False
    )
    assert (tile, batch) == ((24, 16), 1)
    assert "journal" in why


@pytest.mark.parametrize(
    "tile",
    [None, "24x16", [24], [24, 16, 8], ["24", "16"], [True, True], [0, 0], [-4, 4], [7, 9],
     [24, 10**9], {"height": 24}],
)  # fmt: skip
def test_a_tile_that_is_none_is_not_believed(
    tmp_path: Path, tiny_checkpoint: Path, tile: object
) -> None:
    class Odd(Upscaler):
        def __init__(self) -> None:
            super().__init__(IdentityEngine((24, 16)))
            checkpoint = sha256(tiny_checkpoint)
            self.settings = {**self.settings, "checkpoint": checkpoint, "tile": tile}

    picture(tmp_path / "in" / "a.png", (100, 200))
    list(folders.run(jobs_of(tmp_path / "in"), Odd()))
    chosen = auto_tile.choose_tile(
        jobs_of(tmp_path / "in"), str(tiny_checkpoint), OPTIONS, gpu=False
    )
    assert chosen[0] == (100, 200)


def test_an_artifact_has_its_own(tiny_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tile of its own"):
        auto_tile.network_of(str(tiny_onnx))
    with pytest.raises(UsageError, match="no checkpoint"):
        auto_tile.network_of(str(tmp_path / "none.pth"))
    with pytest.raises(UsageError, match="neither a file nor a model"):
        auto_tile.network_of("nobody")


def test_there_is_memory_to_take() -> None:
    assert 2**20 < available_memory() < 2**50


def test_a_plain_run_decides_no_tile_of_an_exact_one(tmp_path: Path, tiny_checkpoint: Path) -> None:
    class Earlier(Upscaler):
        def __init__(self) -> None:
            super().__init__(IdentityEngine((24, 16)))
            self.settings = {**self.settings, "checkpoint": sha256(tiny_checkpoint)}

    picture(tmp_path / "in" / "a.png", (100, 200))
    jobs = jobs_of(tmp_path / "in")
    list(folders.run(jobs, Earlier()))
    chosen = auto_tile.choose_tile(jobs, str(tiny_checkpoint), OPTIONS, gpu=False, exact=True)
    assert chosen[0] == (100, 200)
