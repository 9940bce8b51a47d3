from __future__ import annotations

import errno
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import IdentityEngine
from folder_runs import kinds, picture, results, run

from hat_deploy import files, folders
from hat_deploy.api import Upscaler
from hat_deploy.errors import UsageError
from hat_deploy.folders import claims, folder_lock, pipeline
from hat_deploy.folders.folder_lock import NAME as FOLDER_LOCK
from hat_deploy.folders.journal import Journal, JournalReader

forked = multiprocessing.get_context("fork")


def in_another_process(action: Callable[[], object]) -> object:
    """What an action gives when another process does it."""
    answer = forked.SimpleQueue()
    process = forked.Process(target=lambda: answer.put(action()))
    process.start()
    found = answer.get()
    process.join()
    return found


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "lockf", refuse)
    monkeypatch.setattr(files.fcntl, "flock", refuse)


def test_a_claim_is_exclusive_until_it_is_given_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def other() -> object:
        theirs = Journal(tmp_path)
        return theirs.claims.take("a.png"), theirs.claims.take("b.png")

    assert journal.claims.take("a.png")
    assert in_another_process(other) == (False, True)
    assert not journal.claims.take("a.png")
    journal.claims.drop("a.png")
    assert in_another_process(other) == (True, True)
    journal.close()


def test_claims_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    one, two = Journal(tmp_path), Journal(tmp_path / ".." / tmp_path.name)
    assert one.claims.take("a.png")
    assert not two.claims.take("a.png")
    one.close()
    assert two.claims.take("a.png")
    two.close()


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    def die() -> None:
        assert Journal(tmp_path).claims.take("a.png")
        os._exit(9)

    process = forked.Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == 9
    journal = Journal(tmp_path)
    assert journal.claims.take("a.png")
    journal.close()


def busy_with(output: Path, name: str) -> Journal:
    """A run like those of ``run``, at work on one result."""
    settings = {**Upscaler(IdentityEngine()).settings, "quality": folders.Options().quality}
    journal = Journal(output, settings)
    assert journal.claims.take(name)
    return journal


def test_what_another_run_is_working_on_for_too_long_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PATIENCE", 0.0)
    for n in range(3):
        picture(tmp_path / "in" / f"{n}.png")
    busy = busy_with(tmp_path / "in-x2", "1.png")
    outcomes = run(tmp_path / "in")
    assert kinds(outcomes) == {"0.png": "Done", "1.png": "Failed", "2.png": "Done"}
    assert "another run is still working on it" in outcomes["1.png"].reason
    busy.close()
    assert kinds(run(tmp_path / "in")) == {"0.png": "Skipped", "1.png": "Done", "2.png": "Skipped"}


def test_what_another_run_gave_up_is_done_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        picture(tmp_path / "in" / f"{n}.png")
    busy = busy_with(tmp_path / "in-x2", "1.png")
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(pipeline.time, "sleep", lambda seconds: busy.claims.drop("1.png"))
    outcomes = run(tmp_path / "in", progress=lambda now: seen.append((now.settled, now.jobs)))
    assert set(kinds(outcomes).values()) == {"Done"}
    assert seen[-1] == (3, 3) and max(seen) == (3, 3)
    busy.close()


def test_what_another_run_finished_is_known_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "in" / "0.png")
    assert kinds(run(tmp_path / "in")) == {"0.png": "Done"}
    busy = busy_with(tmp_path / "in-x2", "0.png")
    monkeypatch.setattr(pipeline.time, "sleep", lambda seconds: busy.claims.drop("0.png"))
    outcomes = run(tmp_path / "in")
    assert kinds(outcomes) == {"0.png": "Skipped"} and outcomes["0.png"].reason is None
    busy.close()


class TestSettings:
    def test_runs_with_other_settings_are_refused(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path, {"model": "a"})

        def other(settings: dict[str, str]) -> object:
            try:
                Journal(tmp_path, settings).close()
            except UsageError as error:
                return str(error)
            return None

        assert in_another_process(lambda: other({"model": "a"})) is None
        assert "other settings is working in" in str(other({"model": "b"}))
        answer = in_another_process(lambda: other({"model": "b"}))
        assert "other settings is working in" in str(answer)
        journal.close()
        assert in_another_process(lambda: other({"model": "b"})) is None

    def test_the_last_of_several_keeps_others_out(self, tmp_path: Path) -> None:
        first, second = Journal(tmp_path, {"model": "a"}), Journal(tmp_path, {"model": "a"})
        first.close()
        with JournalReader(tmp_path):  # its end must not drop the locks of the one at work

            def other() -> object:
                try:
                    Journal(tmp_path, {"model": "b"}).close()
                except UsageError:
                    return "refused"
                return "let in"

            assert in_another_process(other) == "refused"
        assert in_another_process(other) == "refused"
        second.close()
        assert in_another_process(other) == "let in"

    def test_a_refused_run_does_nothing(self, tmp_path: Path) -> None:
        picture(tmp_path / "in" / "a.png")
        busy = Journal(tmp_path / "in-x2", {"model": "another"})
        engine = IdentityEngine()
        with pytest.raises(UsageError, match="wait for it, or use another folder"):
            run(tmp_path / "in", Upscaler(engine))
        assert engine.calls == 0 and not results(tmp_path / "in-x2")
        busy.close()
        assert kinds(run(tmp_path / "in")) == {"a.png": "Done"}

    def test_of_many_that_come_at_once_those_with_one_kind_of_settings_stay(
        self, tmp_path: Path
    ) -> None:
        def come(number: int) -> str:
            try:
                Journal(tmp_path, {"model": str(number % 2)})
            except UsageError:
                return "refused"
            return str(number % 2)

        answers = forked.SimpleQueue()
        leave = forked.Event()

        def process(number: int) -> None:
            answers.put(come(number))
            leave.wait()

        processes = [forked.Process(target=process, args=(number,)) for number in range(12)]
        for each in processes:
            each.start()
        said = [answers.get() for _ in processes]
        leave.set()
        for each in processes:
            each.join()
        assert sorted(set(said) - {"refused"}) in (["0"], ["1"])
        assert said.count("refused") == 6


@pytest.mark.usefixtures("without_locks")
class TestWithoutLocks:
    def test_one_run_has_the_folder(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        assert journal.claims.take("a.png")
        with pytest.raises(UsageError, match=rf"process {os.getpid()}.* is working in"):
            Journal(tmp_path)
        journal.close()
        Journal(tmp_path).close()
        assert not list(tmp_path.glob(f"{FOLDER_LOCK}*"))

    def test_a_run_on_it_says_so_for_every_picture(self, tmp_path: Path) -> None:
        picture(tmp_path / "in" / "a.png")
        journal = Journal(tmp_path / "in-x2")
        (failed,) = run(tmp_path / "in").values()
        assert isinstance(failed, folders.Failed) and not failed.tried
        assert "another hat-deploy" in failed.reason
        journal.close()
        assert kinds(run(tmp_path / "in")) == {"a.png": "Done"}

    def test_a_lock_of_a_dead_process_is_no_obstacle(self, tmp_path: Path) -> None:
        holder = {"host": socket.gethostname(), "pid": dead_process()}
        (tmp_path / FOLDER_LOCK).write_text(json.dumps(holder))
        Journal(tmp_path).close()

    @pytest.mark.parametrize(
        "content",
        [
            "?",
            "",
            "[" * 100_000,
            '{"host":' * 500,
            *(
                json.dumps({"host": socket.gethostname(), "pid": pid})
                for pid in (10**30, 2**31, 0, -1, 1.5, True, "1", None, [1], float("inf"))
            ),
            json.dumps({"host": ["elsewhere"], "pid": 1}),
        ],
    )
    def test_a_lock_of_nobody_is_no_obstacle(self, tmp_path: Path, content: str) -> None:
        (tmp_path / FOLDER_LOCK).write_text(content)
        Journal(tmp_path).close()
        assert not list(tmp_path.glob(f"{FOLDER_LOCK}*"))

    def test_a_lock_without_hard_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(folder_lock.os, "link", refuse)
        self.test_one_run_has_the_folder(tmp_path)

    def test_a_lock_of_another_machine_is_respected(self, tmp_path: Path) -> None:
        (tmp_path / FOLDER_LOCK).write_text(json.dumps({"host": "elsewhere", "pid": 1}))
        with pytest.raises(UsageError, match=f"remove .*{FOLDER_LOCK} if it is gone"):
            Journal(tmp_path)


class TestLeftovers:
    def leave(self, folder: Path) -> None:
        def die() -> None:
            with files.staged(folder / "a.png") as path:
                path.write_bytes(b"half")
                os._exit(9)

        process = forked.Process(target=die)
        process.start()
        process.join()

    def test_those_of_dead_processes_are_removed(self, tmp_path: Path) -> None:
        self.leave(tmp_path / "in-x2")
        (left,) = (tmp_path / "in-x2").iterdir()
        foreign = tmp_path / "in-x2" / ".somebody-elses.part"
        foreign.touch()
        picture(tmp_path / "in" / "b.png")
        run(tmp_path / "in")
        assert not left.exists() and foreign.exists()
        assert list(results(tmp_path / "in-x2")) == ["b.png"]

    def test_those_of_living_ones_stay(self, tmp_path: Path) -> None:
        with files.staged(tmp_path / "a.png") as path:
            assert in_another_process(lambda: files.remove_abandoned([tmp_path])) == 0
            assert path.parent.exists()
        assert not path.parent.exists()
        assert files.remove_abandoned([tmp_path / "none"]) == 0
