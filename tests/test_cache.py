from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import MappingProxyType

import pytest

from hat_deploy import cache
from hat_deploy.errors import UsageError
from hat_deploy.locks import alone

KEY = MappingProxyType({"from": "x"})


def make(path: Path) -> None:
    path.write_bytes(b"content")


def entries() -> list[Path]:
    return list(cache.cache_folder().iterdir())


def test_an_entry_is_made_once() -> None:
    entry = cache.fetch(KEY, ".onnx", make)
    assert cache.fetch(KEY, ".onnx", pytest.fail) == entry
    assert entries() == [entry]


def test_another_key_is_another_entry() -> None:
    other = cache.fetch({"from": "y"}, ".onnx", make)
    assert cache.fetch(KEY, ".onnx", make) != other


@pytest.mark.parametrize("damaged", [b"cont", b"", b"cantent"])
def test_a_damaged_entry_is_made_again(damaged: bytes) -> None:
    entry = cache.fetch(KEY, ".onnx", make)
    entry.write_bytes(damaged)
    assert cache.fetch(KEY, ".onnx", make).read_bytes() == b"content"
    assert len(entries()) == 1


def test_a_failed_one_leaves_nothing() -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.fetch(KEY, ".onnx", fail)
    assert entries() == []
    assert cache.fetch(KEY, ".onnx", make).read_bytes() == b"content"


def test_of_several_at_once_one_makes_it_and_the_others_wait() -> None:
    made: list[Path] = []
    waited: list[str] = []
    found: list[bytes] = []
    go = threading.Barrier(4)

    def slow(path: Path) -> None:
        made.append(path)
        time.sleep(0.2)
        make(path)

    def fetch() -> None:
        go.wait(10)
        entry = cache.fetch(KEY, ".onnx", slow, lambda: waited.append("waited"))
        found.append(entry.read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"content"] * 4
    assert len(made) == 1
    assert len(waited) == 3
    assert len(entries()) == 1


def test_without_locks_all_get_a_whole_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    from hat_deploy import locks

    monkeypatch.setattr(locks, "fcntl", None)
    barrier = threading.Barrier(4)
    found: list[bytes] = []

    def slow(path: Path) -> None:
        barrier.wait(10)
        make(path)

    def fetch() -> None:
        found.append(cache.fetch(KEY, ".onnx", slow).read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"content"] * 4
    assert len(entries()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_killed_maker_does_not_block_the_next(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    code = (
        "import sys, time; from pathlib import Path; from hat_deploy.locks import alone\n"
        "with alone(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"in\n"
    waited: list[str] = []
    killer = threading.Timer(0.2, child.kill)
    killer.start()
    with alone(lock, lambda: waited.append("waited")):
        assert child.wait(10) != 0
    child.stdout.close()
    assert waited == ["waited"]
    assert not lock.exists()


def test_an_unwritable_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UsageError, match="HAT_DEPLOY_CACHE"):
        cache.fetch(KEY, ".onnx", make)
