"""One run at a time in a folder whose file system has no locks: a file with the run's process.

A lock of a library would keep others out for good where its file is damaged, and says less of
who holds it.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from hat_deploy.errors import UsageError
from hat_deploy.files import open_plain
from hat_deploy.terminal.printable import display_name

NAME = ".hat-deploy-lock"
"""The file's name in the folder."""
_LARGEST_LOCK = 4096
_LARGEST_PID = 2**31


class FolderLock:
    """A file that exists while a process works in a folder; one of a dead process is no obstacle.

    Raises:
        UsageError: another process has the folder, or the file is a link, a pipe or the like.
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self._path = folder / name
        own = {"host": socket.gethostname(), "pid": os.getpid(), "token": token_hex(8)}
        self._content = json.dumps(own).encode()
        while not self._create():
            self._remove_stale()

    def _create(self) -> bool:
        """Take a file that nobody ever sees half written, under its final name."""
        draft = self._path.with_name(f"{NAME}-{token_hex(6)}")
        draft.write_bytes(self._content)
        try:
            os.link(draft, self._path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return self._create_without_links()
        finally:
            draft.unlink()
        return True

    def _create_without_links(self) -> bool:
        try:
            with self._path.open("xb", buffering=0) as file:
                file.write(self._content)
        except FileExistsError:
            return False
        return True

    def _remove_stale(self) -> None:
        """Remove the file of a dead process.

        Raises:
            UsageError: its process lives, or nobody here can tell, or it is not a file.
        """
        try:
            content = self._read(self._path)
        except FileNotFoundError:
            return
        if (holder := _living_holder(content)) is not None:
            raise UsageError(
                f"another hat-deploy ({holder}) is working in {self._path.parent}: wait for it, "
                f"use another folder, or remove {self._path} if it is gone"
            )
        aside = self._path.with_name(f"{NAME}-{token_hex(6)}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        if self._read(aside) != content:  # somebody was faster, and this is their new one
            os.link(aside, self._path)
        aside.unlink()

    def release(self) -> None:
        """Give the folder up."""
        with suppress(FileNotFoundError, UsageError):
            if self._read(self._path) == self._content:
                self._path.unlink()

    def _read(self, path: Path) -> bytes:
        """At most what a lock file can have, and one byte more."""
        descriptor = open_plain(path, os.O_RDONLY, "lock file")
        try:
            return os.read(descriptor, _LARGEST_LOCK + 1)
        finally:
            os.close(descriptor)


def _living_holder(content: bytes) -> str | None:
    """Who holds a lock file, for people; None if that process is known to be gone."""
    try:
        holder = json.loads(content)
        host, pid = holder["host"], holder["pid"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # files appear whole: this is none of ours, or was damaged
    if not isinstance(host, str) or type(pid) is not int or not 0 < pid < _LARGEST_PID:
        return None  # as above
    if host != socket.gethostname():
        return f"process {pid} on {display_name(host)}"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return f"process {pid}"
