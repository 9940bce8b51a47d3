from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest

from hat_deploy import cache
from hat_deploy.errors import UsageError
from hat_deploy.files import alone, temporary

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


def in_threads(count: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_of_several_at_once_one_makes_it_and_the_others_wait() -> None:
    made: list[Path] = []
    found: list[bytes] = []
    waiting = threading.Semaphore(0)

    def slow(path: Path) -> None:
        made.append(path)
        for _ in range(3):
            assert waiting.acquire(timeout=60)
        make(path)

    def fetch() -> None:
        found.append(cache.fetch(KEY, ".onnx", slow, waiting.release).read_bytes())

    in_threads(4, fetch)
    assert found == [b"content"] * 4
    assert len(made) == 1
    assert not waiting.acquire(blocking=False), "somebody said twice that it waits"
    assert len(entries()) == 1


def test_who_waits_says_so_once_however_often_another_is_first(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    told: list[int] = []
    waiting = threading.Semaphore(0)

    def tell() -> None:
        told.append(threading.get_ident())
        waiting.release()

    def enter() -> None:
        with alone(lock, tell):
            time.sleep(0.2)  # long enough for those who lost to wait again

    with alone(lock):
        threads = [threading.Thread(target=enter) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert waiting.acquire(timeout=60)
    for thread in threads:
        thread.join(60)
    assert len(told) == len(set(told)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="its locks are no function of Python's")
def test_without_locks_all_get_a_whole_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    barrier = threading.Barrier(4)
    found: list[bytes] = []

    def slow(path: Path) -> None:
        barrier.wait(10)
        make(path)

    def fetch() -> None:
        found.append(cache.fetch(KEY, ".onnx", slow).read_bytes())

    in_threads(4, fetch)
    assert found == [b"content"] * 4
    assert len(entries()) == 1


def test_a_killed_maker_does_not_block_the_next(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    code = (
        "import sys, time; from pathlib import Path; from hat_deploy.files import alone\n"
        "with alone(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"in\n"
    waited: list[str] = []

    def wait() -> None:
        waited.append("waited")
        threading.Timer(0.2, child.kill).start()

    with alone(lock, wait):
        assert child.wait(60) != 0
    child.stdout.close()
    assert waited == ["waited"]
    assert not lock.exists()


def test_an_unwritable_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HAT_DEPLOY_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UsageError, match="HAT_DEPLOY_CACHE"):
        cache.fetch(KEY, ".onnx", make)


def test_an_entry_that_is_there_needs_no_writable_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = cache.fetch(KEY, ".onnx", make)

    def refuse(*args: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("touch", "unlink", "mkdir", "replace"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "utime", refuse)
    assert cache.fetch(KEY, ".onnx", pytest.fail) == entry


def keep(name: str, size: int, *, used: float) -> Path:
    """An entry last used so many hours ago."""
    path = cache.keep({"from": name}, ".blob", lambda path: path.write_bytes(bytes(size)))
    os.utime(path, (time.time() - used * 3600,) * 2)
    return path


def test_what_was_not_used_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    old, used, older = keep("a", 400, used=30), keep("b", 400, used=20), keep("c", 100, used=40)
    assert cache.find({"from": "a"}, ".blob") == old
    monkeypatch.setenv("HAT_DEPLOY_CACHE_SIZE", "1k")
    new = cache.fetch({"from": "d"}, ".onnx", lambda path: path.write_bytes(bytes(300)))
    assert sorted(entries()) == sorted([old, new])
    assert not used.exists() and not older.exists()


def test_what_was_just_made_or_used_stays_whatever_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HAT_DEPLOY_CACHE_SIZE", "1")
    kept = [keep("a", 400, used=0.5), keep("b", 400, used=0)]
    assert sorted(entries()) == sorted(kept)


HOLDER = """
import sys, pathlib
from hat_deploy import cache
entry = cache.fetch({"from": "held"}, ".onnx", lambda path: path.write_bytes(bytes(500)))
print("held", flush=True)
sys.stdin.read()
assert entry.read_bytes() == bytes(500), "it is read again later, as for an image of another size"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="what is open cannot be removed there")
def test_what_a_running_process_was_given_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", HOLDER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "held\n"
        (held,) = entries()
        os.utime(held, (0, 0))
        monkeypatch.setenv("HAT_DEPLOY_CACHE_SIZE", "1")
        made = keep("a", 400, used=2)
        assert held.exists(), "the limit spares it"
        left = cache.remove(cache.entries())
        assert [entry.path for entry in left] == [held] and not made.exists()
        holder.stdin.close()
        assert holder.wait(60) == 0
    assert cache.remove(cache.entries()) == [] and entries() == []


def test_what_was_removed_before_it_could_be_held_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = cache.fetch(KEY, ".onnx", make)
    hold = cache.hold

    def too_late(path: Path) -> bool:
        path.unlink()
        monkeypatch.setattr(cache, "hold", hold)
        return hold(path)

    monkeypatch.setattr(cache, "hold", too_late)
    assert cache.fetch(KEY, ".onnx", make) == entry
    assert entry.read_bytes() == b"content"


def test_of_two_who_made_the_same_the_first_stays() -> None:
    def beaten(path: Path) -> None:
        path.write_bytes(b"second")
        cache.keep(KEY, ".blob", make)

    assert cache.keep(KEY, ".blob", beaten).read_bytes() == b"content"
    assert len(entries()) == 1


def test_files_of_others_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache.cache_folder()
    folder.mkdir()
    for name in ("hat.onnx", "a" * 24 + "-" + "b" * 16 + ".jpg", ".0123456789ab.part.jpg"):
        (folder / name).write_bytes(bytes(2000))
        os.utime(folder / name, (0, 0))
    monkeypatch.setenv("HAT_DEPLOY_CACHE_SIZE", "1")
    keep("a", 400, used=0)
    assert len(entries()) == 4


def test_what_killed_exports_left_is_removed_after_a_day() -> None:
    folder = cache.cache_folder()
    folder.mkdir()
    with temporary(folder, ".onnx") as dead, temporary(folder, ".plan") as alive:
        pass  # the names that entries have before they are whole
    for path, hours in ((dead, 25), (alive, 23)):
        path.touch()
        os.utime(path, (time.time() - hours * 3600,) * 2)
    entry = cache.fetch(KEY, ".onnx", make)
    assert sorted(entries()) == sorted([alive, entry])


def test_a_limit_that_is_none_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HAT_DEPLOY_CACHE_SIZE", "much")
    with pytest.raises(UsageError, match="HAT_DEPLOY_CACHE_SIZE much: write bytes"):
        cache.fetch(KEY, ".onnx", pytest.fail)


def test_without_a_home_folder_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache, "user_cache_path", homeless)
    for name in ("HAT_DEPLOY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="HAT_DEPLOY_CACHE"):
        cache.fetch(KEY, ".onnx", make)
