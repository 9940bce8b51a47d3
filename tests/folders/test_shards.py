"""Shares of a run on folders of this machine, and manifests."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from commands import Run, runner
from fakes import IdentityEngine
from folder_runs import kinds, picture, results

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.errors import UsageError
from hat_deploy.folders import job_list
from hat_deploy.folders.claims import FolderBusy
from hat_deploy.folders.job_list import JobList, Rejected
from hat_deploy.folders.job_stream import found_in, share_of
from hat_deploy.folders.journal import NAME, JournalReader, of_share
from hat_deploy.folders.journals import Journals
from hat_deploy.folders.manifest import stream_manifest
from hat_deploy.folders.shards import Shard, parse
from hat_deploy.folders.status import status_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        picture(tmp_path / "in" / f"{number}.png", seed=number)
    return tmp_path / "in"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def upscale(folder: Path, shard: Shard) -> dict[str, folders.Outcome]:
    listed = job_list.list_jobs([folder], mark="-x2", output=None, recursive=True)
    mine = share_of(listed, shard)
    found = folders.run_list(mine, Upscaler(IdentityEngine()), folders.Options(shard=shard))
    return {outcome.source.name: outcome for outcome in found}


def test_shards_make_what_one_run_makes(folder: Path) -> None:
    parts = [upscale(folder, Shard(number, 3)) for number in range(3)]
    made = Counter(name for part in parts for name in part)
    assert made == Counter(path.name for path in folder.iterdir())
    together = results(folder.with_name("in-x2"))
    for name in together:
        (folder.with_name("in-x2") / name).unlink()
    assert set(kinds(upscale(folder, Shard())).values()) == {"Done"}
    assert results(folder.with_name("in-x2")) == together


def test_each_shard_keeps_its_own_journal_and_all_are_read(folder: Path) -> None:
    output = folder.with_name("in-x2")
    upscale(folder, Shard(0, 2))
    assert (output / of_share(Shard(0, 2))).read_bytes() and not (output / NAME).read_bytes()
    half = status_of(output)
    assert half.missing is None and half.silent == ["1/2"]
    upscale(folder, Shard(1, 2))
    done = status_of(output)
    assert (done.done, done.missing, done.shards) == (12, 0, 2)
    for shard in (Shard(), Shard(2, 5), Shard(1, 2)):
        assert set(kinds(upscale(folder, shard)).values()) == {"Skipped"}
    with JournalReader(output) as reader:
        assert all(reader.last(f"{number}.png") is not None for number in range(12))


def test_of_several_lines_the_one_that_is_true_counts(folder: Path) -> None:
    """A result that another division made again is not taken for a changed one."""
    upscale(folder, Shard(0, 2))
    output = folder.with_name("in-x2")
    name = min(results(output))
    picture(folder / name, seed=77)
    assert kinds(upscale(folder, Shard()))[name] == "Done"
    assert kinds(upscale(folder, Shard(0, 2)))[name] == "Skipped"


def test_shards_with_other_settings_are_kept_apart(folder: Path) -> None:
    listed = job_list.list_jobs([folder], mark="-x2", output=None, recursive=True)
    first = Journals(listed.jobs, {"model": "a"}, shard=Shard(0, 2))
    first.open()
    try:
        second = Journals(listed.jobs, {"model": "a"}, shard=Shard(1, 2))
        assert second.open() == []
        second.close()
        with pytest.raises(FolderBusy):
            Journals(listed.jobs, {"model": "b"}, shard=Shard(1, 2)).open()
    finally:
        first.close()


def test_a_name_alone_decides_its_shard() -> None:
    """Fixed by hand: another hash would do work again that was done."""
    assert [n for n in range(20) if Shard(0, 4).has(f"{n}.png")] == [2, 8, 14, 17]
    counts = Counter(n for n in range(8) for i in range(8000) if Shard(n, 8).has(f"{i}.png"))
    assert sum(counts.values()) == 8000 and all(900 < count < 1100 for count in counts.values())


@pytest.mark.parametrize(
    ("text", "environ", "found"),
    [
        ("3/16", {}, Shard(3, 16)),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "5"}, Shard(2, 5)),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_MAX": "16",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            Shard(2, 4),
        ),
        ("auto/8", {"JOB_COMPLETION_INDEX": "7"}, Shard(7, 8)),
    ],
)
def test_what_schedulers_say(text: str, environ: dict[str, str], found: Shard) -> None:
    assert parse(text, environ) == found


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("16/16", {}),
        ("1/0", {}),
        ("half", {}),
        ("3", {}),
        ("auto", {}),
        ("auto", {"JOB_COMPLETION_INDEX": "7"}),
        ("auto/4", {"AWS_BATCH_JOB_ARRAY_INDEX": "2", "AWS_BATCH_JOB_ARRAY_SIZE": "5"}),
    ],
)
def test_shards_that_are_none(text: str, environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="shard"):
        parse(text, environ)


class TestManifests:
    def targets(self, path: Path, **options: str) -> tuple[list[tuple[str, str]], list[str]]:
        listed = stream_manifest(path, path.parent / "out", **options)
        good, bad = [], []
        for found in found_in(listed):
            if isinstance(found, Rejected):
                bad.append(found.reason)
            else:
                name = str(found.target).removeprefix(f"{path.parent}/out/")
                good.append((str(found.source).removeprefix(f"{path.parent}/"), name))
        return good, bad

    def test_names_of_results(self, tmp_path: Path) -> None:
        rows = [
            {"source": "sub/a.jpg"},
            {"source": "a.png", "target": "x/y.webp"},
            {"source": "s3://b/in/c.png"},
            {"source": "/data/d.png"},
        ]
        path = tmp_path / "list.jsonl"
        path.write_text("\n\n".join(map(json.dumps, rows)))
        assert self.targets(path, format="png") == (
            [
                ("sub/a.jpg", "sub/a-jpg.png"),
                ("a.png", "x/y.webp"),
                ("s3://b/in/c.png", "b/in/c.png"),
                ("/data/d.png", "data/d.png"),
            ],
            [],
        )

    def test_bad_rows_are_named_and_stop_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "list.jsonl"
        rows = ["{", "[1]", '{"target": "a.png"}', '{"source": "a.txt"}']
        rows += ['{"source": "a.png", "target": "../a.png"}', '{"source": "ftp://a/b.png"}']
        path.write_text("\n".join([*rows, '{"source": "b.png"}']))
        good, bad = self.targets(path)
        assert good == [("b.png", "b.png")]
        assert [reason.partition(":")[0] for reason in bad] == [f"row {n}" for n in range(1, 7)]

    def test_csv_and_parquet(self, tmp_path: Path) -> None:
        wanted = [("a.png", "a.png"), ("b,c.png", "z.png")]
        (tmp_path / "list.csv").write_text('source,size,target\na.png,3,\n"b,c.png",4,z.png\n')
        assert self.targets(tmp_path / "list.csv") == (wanted, [])
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table({"target": [None, "z.png"], "source": ["a.png", "b,c.png"]})
        pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "list.parquet")
        assert self.targets(tmp_path / "list.parquet") == (wanted, [])
        (tmp_path / "bad.csv").write_text("a.png\n")
        (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
        for name in ("bad.csv", "bad.parquet"):
            with pytest.raises(UsageError, match=r"source|Parquet"):
                self.targets(tmp_path / name)

    def test_what_makes_no_sense_is_refused(self, tmp_path: Path, run: Run) -> None:
        path = tmp_path / "list.csv"
        path.write_text("source\n")
        assert run("upscale --manifest", path).refused("-o")
        assert run("upscale --manifest", path, path, "-o", "out").refused("--manifest", "PATHS")
        assert run("upscale").refused("--manifest")
        assert run("upscale --manifest none.csv -o out").refused("does not exist")
        assert run("upscale --manifest", tmp_path, "-o out").refused(".jsonl")
        assert run("upscale -o out -r --manifest", path).refused("-r")
        assert run("status", tmp_path).refused("no journal")


def test_a_list_keeps_its_kind() -> None:
    assert share_of(JobList(), Shard(0, 2)) == JobList()
